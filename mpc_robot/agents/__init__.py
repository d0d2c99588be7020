"""The learners: real experience becomes a model, the model a better controller."""
