"""The one loop that drives every learner; run folders, checkpoints and evaluation."""
