"""Training: the input pipeline, one step, the loop around it, checkpoints."""
