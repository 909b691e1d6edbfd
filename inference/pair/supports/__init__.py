"""Supports: which set a distribution lives on, and what belongs to it."""
