"""The models: what happens next?"""
