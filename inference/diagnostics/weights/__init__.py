"""Importance weights, a piece of data and particles at a time, and their reliability."""
