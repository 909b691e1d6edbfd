"""The recursions of a hidden Markov model: time comes first in every tensor here, ``(T, N, C)``."""

from __future__ import annotations

__all__ = [
    "CategoricalEmission",
    "Emission",
    "GaussianEmission",
    "HiddenMarkov",
    "MarkovChain",
    "best_path",
    "expectations",
    "log_evidence",
]

from .algorithms import expectations, log_evidence
from .chain import MarkovChain
from .emissions import CategoricalEmission, Emission, GaussianEmission
from .marginal import HiddenMarkov
from .viterbi import best_path
