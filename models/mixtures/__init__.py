"""Mixtures: clusters of Gaussians, counts and compositions; their assignments are summed out."""
