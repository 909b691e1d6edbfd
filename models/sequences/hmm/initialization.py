"""Starts from data: clusters of frames, or parts of the sequences, and how often one follows another."""

from __future__ import annotations

__all__ = ["GaussianStart", "categorical_start", "gaussian_start", "segment_start"]

from dataclasses import dataclass

import torch
from torch import Tensor

from ...common.column_spread import column_spread, or_one
from ...common.kmeans import kmeans
from ...common.precision import wide
from ...mixtures.gaussian_em import floored
from .padding import sequence_mask

_WINDOWS, _WIDTH = 5_000, 15


@dataclass(frozen=True)
class GaussianStart:
    """Means ``(C, D)``; standard deviations ``(C, D)`` or Cholesky factors ``(C, D, D)``; ``(C,)`` and ``(C, C)``."""

    means: Tensor
    scale: Tensor
    initial: Tensor
    transition: Tensor


def gaussian_start(
    x: Tensor,
    lengths: Tensor,
    num_states: int,
    seed: int,
    full: bool,
    floor: Tensor,
    in_time: bool = False,
) -> GaussianStart:
    r"""Clusters of the frames by k-means in units of their spread, and how often one follows another, plus one.

    Each cluster's covariance is shrunk to the pooled one by D + 1 pseudo-frames.

    Args:
        x: ``(N, T, D)``; lengths: of its sequences, ``(N,)``.
        num_states: C.
        seed: of the clustering.
        full: whether covariances are full.
        floor: under every standard deviation, ``(D,)``.
        in_time: whether to number the clusters by when in a sequence their frames come, on average.
    """
    inside = sequence_mask(lengths, x.shape[1])
    spread, floor = wide(or_one(column_spread(x[inside]))), wide(floor)
    centres, rows, cluster = kmeans(x[inside], num_states, seed, unit=spread)
    if in_time:
        place, cluster_of = _place(lengths, x.shape[1])[inside], _nearest(x, centres, spread)[inside]
        when = _means(place.to(rows.dtype), cluster_of, num_states)
        order = when.argsort()
        centres, cluster = centres[order], order.argsort()[cluster]
    counts = torch.bincount(cluster, minlength=num_states).to(rows.dtype)
    residual = rows - centres[cluster]
    pooled = residual.square().mean(0).clamp_min(1e-2 * spread**2).clamp_min(floor**2)
    prior_rows = x.shape[-1] + 1
    total = (counts + prior_rows).unsqueeze(-1)
    if full:
        outer = torch.stack([residual[cluster == k].mT @ residual[cluster == k] for k in range(num_states)])
        scale = floored((outer + prior_rows * torch.diag(pooled)) / total.unsqueeze(-1), floor)
    else:
        squares = torch.zeros_like(centres).index_add_(0, cluster, residual.square())
        scale = ((squares + prior_rows * pooled) / total).sqrt().clamp_min(floor)
    label = _nearest(x, centres, spread)
    pairs = (label[:, :-1] * num_states + label[:, 1:])[inside[:, 1:]]
    follows = torch.bincount(pairs, minlength=num_states**2).reshape(num_states, num_states).to(rows.dtype) + 1
    first = torch.bincount(label[:, 0][lengths > 0], minlength=num_states).to(rows.dtype) + 1
    return GaussianStart(centres, scale, first / first.sum(), follows / follows.sum(-1, keepdim=True))


def _nearest(x: Tensor, centres: Tensor, spread: Tensor) -> Tensor:
    """The cluster of every frame, ``(N, T)``; any in the padding."""
    distances = torch.stack([torch.linalg.vector_norm((x - centre) / spread, dim=-1) for centre in centres], -1)
    return distances.nan_to_num(0.0).argmin(-1)


def _place(lengths: Tensor, steps: int) -> Tensor:
    """How far each step is in its sequence, from 0 to less than 1 up to its length, ``(N, T)``."""
    return torch.arange(steps, device=lengths.device) / lengths.unsqueeze(-1)


def _means(values: Tensor, label: Tensor, num: int) -> Tensor:
    """The mean of the values of each label, ``(num,)``; zero for one that never comes."""
    return torch.bincount(label, values, num) / torch.bincount(label, minlength=num).clamp_min(1)


def segment_start(x: Tensor, lengths: Tensor, num_states: int, num_categories: int, seed: int) -> Tensor:
    """The composition of C equal parts of the sequences, from first to last, smoothed: ``(C, V)``."""
    inside = sequence_mask(lengths, x.shape[1])
    part = (num_states * _place(lengths, x.shape[1])).long()[inside]
    counts = torch.bincount(part * num_categories + x[inside].long(), minlength=num_states * num_categories)
    counts = counts.reshape(num_states, num_categories).to(torch.get_default_dtype())
    return _smoothed(
        counts / counts.sum(-1, keepdim=True).clamp_min(1),
        counts.sum(0) / counts.sum(),
        torch.Generator().manual_seed(seed),
    )


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
    return _smoothed(centres, share.mean(0), generator)


def _smoothed(shares: Tensor, average: Tensor, generator: torch.Generator) -> Tensor:
    """Compositions drawn towards their average, with noise, ``(C, V)``."""
    noise = torch.rand(shares.shape, generator=generator, dtype=torch.float64).to(shares)
    rough = (shares + 0.1 * average + 0.1 / shares.shape[-1]) * (0.75 + 0.5 * noise)
    return rough / rough.sum(-1, keepdim=True)
