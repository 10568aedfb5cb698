"""Training under pytorch-lightning."""
