"""One step of a training: what it starts from, draws, computes and changes; validation."""
