"""Small shared pieces of networks."""
