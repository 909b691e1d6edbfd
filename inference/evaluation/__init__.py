"""Scores of a fit, each with its standard error."""

from __future__ import annotations

from .active_units import active_units
from .elbo_terms import elbo_terms
from .estimate import Estimate
from .log_evidence import log_evidence
from .pareto import k_threshold, psis_k
from .pareto_k import pareto_k

__all__ = [
    "Estimate",
    "active_units",
    "elbo_terms",
    "k_threshold",
    "log_evidence",
    "pareto_k",
    "psis_k",
]
