"""Expected counts of a hidden Markov model, and the probabilities that maximise their likelihood."""

from __future__ import annotations

__all__ = ["HiddenMarkovStatistics", "normalize_counts"]

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class HiddenMarkovStatistics:
    """Expected counts: of first states ``(C,)``, of transitions ``(C, C)``, and what the emissions need."""

    initial: Tensor
    transitions: Tensor
    emission: Any


def normalize_counts(counts: Tensor, present: Tensor) -> Tensor:
    """Each row of counts by its sum. A row without counts stays as it is at present, and so does a zero."""
    total = counts.sum(-1, keepdim=True)
    tiny = torch.finfo(counts.dtype).tiny
    empty = total <= 10 * torch.finfo(counts.dtype).eps * counts.sum().clamp_max(1.0)  # rows may have little weight
    new = torch.where(empty, present, counts / total.clamp_min(tiny))
    new = torch.where(present > 0, new.clamp_min(tiny), 0.0)
    return new / new.sum(-1, keepdim=True)
