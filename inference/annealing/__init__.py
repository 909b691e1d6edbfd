"""Annealing: particles moved along a path of densities, from one that can be drawn from to the posterior."""

from __future__ import annotations
