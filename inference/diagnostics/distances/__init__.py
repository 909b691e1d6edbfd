"""Machinery of `compare`: draws as rows of numbers, their moments, and distances between two sets of them."""

from __future__ import annotations
