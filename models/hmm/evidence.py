"""Which of the two forward algorithms to use."""

from __future__ import annotations

__all__ = ["log_evidence"]

from torch import Tensor

from .forward_backward import log_evidence_sequential
from .scan import log_evidence_scan

_FEWEST_STEPS = 16
_WORK = 1024  # of the scan in one step, in multiplications: below it a step of the recursion is all overhead


def log_evidence(initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None) -> Tensor:
    r""":math:`\log p(x_n)`, ``(N,)``: by the scan where sequences are few, long and of few states, else step by step.

    The rule is on shapes alone: ``N C^3 <= 1024`` and ``T >= 16``. Both give the same numbers.
    """
    steps, num, states = emission.shape
    short = steps < _FEWEST_STEPS or num * states**3 > _WORK
    algorithm = log_evidence_sequential if short else log_evidence_scan
    return algorithm(initial, transition, emission, mask)
