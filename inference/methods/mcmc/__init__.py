"""Markov chain Monte Carlo: chains whose draws are, in the end, those of the posterior."""

from __future__ import annotations
