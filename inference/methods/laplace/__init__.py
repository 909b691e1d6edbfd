"""Laplace: the mode of the posterior density, and the normal of its curvature there."""

from __future__ import annotations
