"""Which steps are data, and what stands in the others."""

from __future__ import annotations

__all__ = ["mask_padding", "sequence_mask"]

import torch
from torch import Tensor


def sequence_mask(lengths: Tensor, steps: int) -> Tensor:
    """Whether each step is before its sequence's end, ``(N, T)``."""
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(-1)


def mask_padding(x: Tensor, inside: Tensor | None) -> Tensor:
    """`x` with zero where its first two dimensions are not `inside`; whatever was there, also NaN, is gone."""
    if inside is None:
        return x
    return torch.where(inside.reshape(*inside.shape, *[1] * (x.dim() - 2)), x, 0)
