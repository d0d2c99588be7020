"""Control robots by planning with a model: simulated, learned, or both."""
