"""Objectives, methods, fit results and their evaluation."""

from __future__ import annotations

from .alignment import align_labels
from .cavi import CAVI
from .em import EM
from .errors import CheckpointError, ConfigurationError, DataError, JensenError, ModelError, NonFiniteError
from .evaluation import (
    Estimate,
    Marginal,
    MutationEffects,
    active_units,
    bound_perplexity,
    document_completion,
    elbo_terms,
    fitted_topics,
    fold_in,
    log_evidence,
    marginals,
    mutation_effects,
    mutation_scan,
    npmi_coherence,
    pareto_k,
    split_words,
)
from .fit import Fit, load
from .loss_minimization import LossMinimization
from .lr_schedules import iwae_schedule
from .minibatch import minibatch
from .objectives import (
    IWAE,
    STL,
    AuxiliaryELBO,
    BetaELBO,
    CapacityELBO,
    Constant,
    Cyclical,
    DReG,
    Linear,
    Renyi,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
)
from .progress import Progress
from .svi import SVI

__all__ = [
    "CAVI",
    "EM",
    "IWAE",
    "STL",
    "SVI",
    "AuxiliaryELBO",
    "BetaELBO",
    "CapacityELBO",
    "CheckpointError",
    "ConfigurationError",
    "Constant",
    "Cyclical",
    "DReG",
    "DataError",
    "Estimate",
    "Fit",
    "JensenError",
    "Linear",
    "LossMinimization",
    "Marginal",
    "ModelError",
    "MutationEffects",
    "NonFiniteError",
    "Progress",
    "Renyi",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "active_units",
    "align_labels",
    "bound_perplexity",
    "document_completion",
    "elbo_terms",
    "fitted_topics",
    "fold_in",
    "iwae_schedule",
    "load",
    "log_evidence",
    "marginals",
    "minibatch",
    "mutation_effects",
    "mutation_scan",
    "npmi_coherence",
    "pareto_k",
    "split_words",
]
