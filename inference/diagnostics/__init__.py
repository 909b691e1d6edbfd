"""Scores of a fit, each with its standard error."""

from __future__ import annotations

__all__ = [
    "Calibration",
    "Comparison",
    "Estimate",
    "EvidenceSandwich",
    "InferenceGap",
    "Marginal",
    "MutationEffects",
    "active_units",
    "bound_perplexity",
    "compare",
    "document_completion",
    "elbo_terms",
    "evidence_sandwich",
    "fitted_topics",
    "fold_in",
    "inference_gap",
    "k_threshold",
    "log_evidence",
    "loo",
    "marginals",
    "mutation_effects",
    "mutation_scan",
    "npmi_coherence",
    "pareto_k",
    "psis_k",
    "simulation_based_calibration",
    "split_words",
]

from .active_units import active_units
from .calibration.calibration import Calibration
from .calibration.simulation_based_calibration import simulation_based_calibration
from .compare import compare
from .comparison import Comparison
from .elbo_terms import elbo_terms
from .estimate import Estimate
from .evidence_sandwich import EvidenceSandwich, evidence_sandwich
from .gap_result import InferenceGap
from .inference_gap import inference_gap
from .log_evidence import log_evidence
from .loo import loo
from .marginals import Marginal, marginals
from .mutations import MutationEffects, mutation_effects, mutation_scan
from .pareto_k import pareto_k
from .topics import bound_perplexity, document_completion, fitted_topics, fold_in, npmi_coherence, split_words
from .weights.pareto import k_threshold, psis_k
