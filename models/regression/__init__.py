"""Bayesian regression: an outcome given inputs."""
