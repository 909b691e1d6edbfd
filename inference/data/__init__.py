"""Whatever holds data, as batches of tensors that a model takes."""
