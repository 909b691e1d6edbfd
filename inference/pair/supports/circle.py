"""Angles."""

from __future__ import annotations

__all__ = ["wrapped"]

import math

import torch
from torch import Tensor


def wrapped(angle: Tensor) -> Tensor:
    r"""The same angle in :math:`[-\pi, \pi)`."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
