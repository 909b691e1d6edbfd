"""Stochastic variational inference: configuration, starts, and the training loop."""
