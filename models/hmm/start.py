"""Starts from data: clusters of frames, and how often one follows another."""

from __future__ import annotations

__all__ = ["GaussianStart", "categorical_start", "gaussian_start"]

from dataclasses import dataclass

import torch
from torch import Tensor

from ..clustering import kmeans
from ..gaussian_moments import floored
from .padding import real_steps

_WINDOWS, _WIDTH = 5_000, 15


@dataclass(frozen=True)
class GaussianStart:
    """Means ``(C, D)``; standard deviations ``(C, D)`` or Cholesky factors ``(C, D, D)``; ``(C,)`` and ``(C, C)``."""

    means: Tensor
    scale: Tensor
    initial: Tensor
    transition: Tensor


def gaussian_start(x: Tensor, lengths: Tensor, num_states: int, seed: int, full: bool, floor: float) -> GaussianStart:
    r"""Clusters of the frames by k-means, and how often one follows another, plus one.

    Each cluster's covariance is shrunk to the pooled one by D + 1 pseudo-frames.

    Args:
        x: ``(N, T, D)``; lengths: of its sequences, ``(N,)``.
        num_states: C.
        seed: of the clustering.
        full: whether covariances are full.
        floor: under every standard deviation.
    """
    inside = real_steps(lengths, x.shape[1])
    centres, rows, cluster = kmeans(x[inside], num_states, seed)
    counts = torch.bincount(cluster, minlength=num_states).to(x.dtype)
    residual = rows - centres[cluster]
    pooled = residual.square().mean(0).clamp_min(1e-2 * rows.var(0, correction=0)).clamp_min(floor**2)
    prior_rows = x.shape[-1] + 1
    total = (counts + prior_rows).unsqueeze(-1)
    if full:
        outer = torch.stack([residual[cluster == k].mT @ residual[cluster == k] for k in range(num_states)])
        scale = floored((outer + prior_rows * torch.diag(pooled)) / total.unsqueeze(-1), floor)
    else:
        squares = torch.zeros_like(centres).index_add_(0, cluster, residual.square())
        scale = ((squares + prior_rows * pooled) / total).sqrt().clamp_min(floor)
    distances = torch.stack([torch.linalg.vector_norm(x - centre, dim=-1) for centre in centres], -1)
    label = distances.nan_to_num(0.0).argmin(-1)
    pairs = (label[:, :-1] * num_states + label[:, 1:])[inside[:, 1:]]
    follows = torch.bincount(pairs, minlength=num_states**2).reshape(num_states, num_states).to(x.dtype) + 1
    first = torch.bincount(label[:, 0], minlength=num_states).to(x.dtype) + 1
    return GaussianStart(centres, scale, first / first.sum(), follows / follows.sum(-1, keepdim=True))


def categorical_start(x: Tensor, lengths: Tensor, num_states: int, num_categories: int, seed: int) -> Tensor:
    """Clusters, by k-means, of the composition of short windows of codes, smoothed: ``(C, V)``.

    The windows, of at most 15 steps at random places, lie inside their sequences. To the compositions is added noise
    that depends on `seed`: states of the same composition, which differ in what follows them, do not start equal.
    """
    generator = torch.Generator().manual_seed(seed)
    num = max(_WINDOWS, 2 * num_states)
    sequence = torch.multinomial(lengths.double().cpu(), num, replacement=True, generator=generator).to(x.device)
    place = torch.rand(num, generator=generator).to(x.device)
    room = lengths[sequence]
    width = min(_WIDTH, x.shape[1])
    start = (place * (room - width + 1).clamp_min(1)).long()
    step = start.unsqueeze(-1) + torch.arange(width, device=x.device)
    real = step < room.unsqueeze(-1)
    codes = torch.where(real, x[sequence.unsqueeze(-1), step.clamp_max(x.shape[1] - 1)], 0).long()
    weight = real.to(x.dtype if x.is_floating_point() else torch.get_default_dtype())
    counts = torch.zeros(num, num_categories, dtype=weight.dtype, device=x.device).scatter_add_(1, codes, weight)
    share = counts / counts.sum(-1, keepdim=True)
    centres = kmeans(share, num_states, seed)[0]
    noise = torch.rand(centres.shape, generator=generator, dtype=torch.float64).to(centres)
    rough = (centres + 0.1 * share.mean(0) + 0.1 / num_categories) * (0.75 + 0.5 * noise)
    return rough / rough.sum(-1, keepdim=True)
