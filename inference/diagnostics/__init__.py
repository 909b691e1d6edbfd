"""Scores of a fit, each with its standard error."""

from __future__ import annotations

__all__ = [
    "Comparison",
    "Estimate",
    "Marginal",
    "MutationEffects",
    "active_units",
    "bound_perplexity",
    "compare",
    "document_completion",
    "elbo_terms",
    "fitted_topics",
    "fold_in",
    "k_threshold",
    "log_evidence",
    "marginals",
    "mutation_effects",
    "mutation_scan",
    "npmi_coherence",
    "pareto_k",
    "psis_k",
    "split_words",
]

from .active_units import active_units
from .compare import compare
from .comparison import Comparison
from .elbo_terms import elbo_terms
from .estimate import Estimate
from .log_evidence import log_evidence
from .marginals import Marginal, marginals
from .mutations import MutationEffects, mutation_effects, mutation_scan
from .pareto_k import pareto_k
from .topics import bound_perplexity, document_completion, fitted_topics, fold_in, npmi_coherence, split_words
from .weights.pareto import k_threshold, psis_k
