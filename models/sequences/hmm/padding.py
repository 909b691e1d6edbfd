"""Which steps are data, and what stands in the others."""

from __future__ import annotations

__all__ = ["frames_in", "lengths_in", "mask_padding", "sequence_mask"]

from collections.abc import Mapping

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


def lengths_in(data: Mapping[str, Tensor]) -> Tensor:
    """The sequences' lengths among the data, ``(N,)``: all steps where none are given."""
    x, lengths = data["x"], data.get("lengths")
    return torch.full(x.shape[:1], x.shape[1], device=x.device) if lengths is None else lengths


def frames_in(data: Mapping[str, Tensor]) -> Tensor:
    """The frames among the data that are no padding, ``(M, *frame_shape)``."""
    return data["x"][sequence_mask(lengths_in(data), data["x"].shape[1])]
