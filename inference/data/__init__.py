"""Data of any kind (arrays, tables, datasets, loaders) as batches of tensors."""
