"""Sequences: the hidden Markov model, and the recursions that sum its states out."""
