"""Pathfinder: quasi-Newton paths towards the mode, and the best normal on them."""

from __future__ import annotations
