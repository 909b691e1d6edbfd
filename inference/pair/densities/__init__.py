"""Densities of single sites."""
