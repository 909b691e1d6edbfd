"""Objectives, methods, fit results and their evaluation."""

from __future__ import annotations

from .cavi import CAVI
from .em import EM
from .errors import CheckpointError, ConfigurationError, DataError, JensenError, ModelError, NonFiniteError
from .evaluation import Estimate, active_units, elbo_terms, log_evidence, pareto_k
from .fit import Fit, load
from .lr_schedules import iwae_schedule
from .minibatch import minibatch
from .objectives import (
    IWAE,
    STL,
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
    "ModelError",
    "NonFiniteError",
    "Progress",
    "Renyi",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "active_units",
    "elbo_terms",
    "iwae_schedule",
    "load",
    "log_evidence",
    "minibatch",
    "pareto_k",
]
