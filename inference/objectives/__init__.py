"""Bounds on the log evidence and their gradient estimators."""

from __future__ import annotations

__all__ = [
    "IWAE",
    "OBJECTIVES",
    "STL",
    "AuxiliaryELBO",
    "BetaELBO",
    "Bound",
    "CapacityELBO",
    "Constant",
    "Cyclical",
    "DReG",
    "Linear",
    "Objective",
    "Renyi",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
]

from .annealed import BetaELBO, CapacityELBO
from .auxiliary import AuxiliaryELBO
from .base import Bound, Objective
from .elbo import STL, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from .importance import IWAE, DReG, Renyi
from .schedules import Constant, Cyclical, Linear

OBJECTIVES: dict[str, type[Objective]] = {
    cls.__name__: cls
    for cls in (Trace_ELBO, TraceMeanField_ELBO, TraceEnum_ELBO, IWAE, Renyi, STL, DReG, BetaELBO, CapacityELBO)
}
