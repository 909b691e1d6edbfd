"""Systematic resampling: each particle as often as its weight says, give or take one."""

from __future__ import annotations

__all__ = ["even_out", "systematic"]

import math

import torch
from torch import Tensor

_LEAST = 0.5  # of the particles that must count, or they are resampled


def systematic(log_weights: Tensor, generator: torch.Generator, count: int | None = None) -> Tensor:
    """Indices ``(..., count)`` (by default as many as there are) of weights ``(..., K)``, in ascending order."""
    size = log_weights.shape[-1]
    count = count or size
    weights = torch.softmax(log_weights, -1)
    shift = torch.rand((*weights.shape[:-1], 1), generator=generator, dtype=weights.dtype, device=weights.device)
    places = (torch.arange(count, dtype=weights.dtype, device=weights.device) + shift) / count
    return torch.searchsorted(weights.cumsum(-1), places).clamp(max=size - 1)


def even_out(state: tuple[Tensor, ...], groups: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    r"""Resample the groups whose effective sample size is below half; the state with its weights evened out.

    Particles follow one another by groups; the last part of the state are their log weights ``(K,)``. After it, each of
    a group's has the log of its mean weight, so that the mean over them stays an estimate of the same.
    """
    log_weights = state[-1].reshape(groups, -1)
    size = log_weights.shape[-1]
    log_sum = log_weights.logsumexp(-1, keepdim=True)
    effective = (2.0 * log_sum - (2.0 * log_weights).logsumexp(-1, keepdim=True)).exp()
    poor = effective < _LEAST * size
    own = torch.arange(size, device=log_weights.device).expand(groups, size)
    chosen = torch.where(poor, systematic(log_weights, generator), own)
    flat = (chosen + size * torch.arange(groups, device=chosen.device).unsqueeze(-1)).reshape(-1)
    evened = torch.where(poor, log_sum - math.log(size), log_weights).reshape(-1)
    return (*(part[flat] for part in state[:-1]), evened)
