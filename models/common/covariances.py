"""Covariances as matrices, whatever parameters they are kept by."""

from __future__ import annotations

__all__ = ["from_scale", "precision_from_scale"]

import torch
from torch import Tensor


def from_scale(scale: Tensor) -> Tensor:
    """Covariances ``(C, D, D)`` of Cholesky factors ``(C, D, D)`` or of standard deviations ``(C, D)``."""
    return scale @ scale.mT if scale.dim() == 3 else torch.diag_embed(scale.square())


def precision_from_scale(scale: Tensor) -> Tensor:
    """Their inverses, ``(C, D, D)``."""
    return torch.cholesky_inverse(scale) if scale.dim() == 3 else torch.diag_embed(scale.square().reciprocal())
