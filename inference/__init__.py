"""Objectives, methods, fit results and their evaluation."""

from __future__ import annotations

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
    "Comparison",
    "ConfigurationError",
    "Constant",
    "Cyclical",
    "DReG",
    "DataError",
    "Estimate",
    "Fit",
    "JensenError",
    "Laplace",
    "Linear",
    "LossMinimization",
    "Marginal",
    "ModelError",
    "MutationEffects",
    "NonFiniteError",
    "NUTS",
    "Pathfinder",
    "Progress",
    "Renyi",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "active_units",
    "align_labels",
    "bound_perplexity",
    "compare",
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

from .diagnostics import (
    Comparison,
    Estimate,
    Marginal,
    MutationEffects,
    active_units,
    bound_perplexity,
    compare,
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
from .diagnostics.label_alignment import align_labels
from .errors import CheckpointError, ConfigurationError, DataError, JensenError, ModelError, NonFiniteError
from .fit.fit import Fit
from .fit.load import load
from .methods.cavi import CAVI
from .methods.em import EM
from .methods.laplace.laplace import Laplace
from .methods.loss_minimization import LossMinimization
from .methods.mcmc.nuts import NUTS
from .methods.pathfinder.pathfinder import Pathfinder
from .methods.svi.svi import SVI
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
from .pair.messengers.minibatch import minibatch
from .run.progress import Progress
from .step.learning_rates import iwae_schedule
