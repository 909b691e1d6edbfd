"""Starts from data: clusters of frames, or parts of the sequences, and how often one follows another."""

from __future__ import annotations

__all__ = ["FrameClusters", "chain_start", "code_start", "frame_clusters"]

from typing import NamedTuple

import torch
from torch import Tensor

from ...common.column_spread import column_spread, or_one
from ...common.kmeans import kmeans
from ...common.precision import wide
from .padding import sequence_mask

_WINDOWS, _WIDTH = 5_000, 15


class FrameClusters(NamedTuple):
    """Centres ``(C, D)``, the frames used ``(M, D)``, their cluster ``(M,)``, and the unit of distances ``(D,)``."""

    centres: Tensor
    rows: Tensor
    cluster: Tensor
    unit: Tensor


def frame_clusters(x: Tensor, lengths: Tensor, num_states: int, seed: int, in_time: bool = False) -> FrameClusters:
    """Clusters of the frames by k-means in units of their spread.

    Args:
        x: ``(N, T, D)``; lengths: of its sequences, ``(N,)``.
        num_states: C.
        seed: of the clustering.
        in_time: whether to number the clusters by when in a sequence their frames come, on average.
    """
    inside = sequence_mask(lengths, x.shape[1])
    unit = wide(or_one(column_spread(x[inside])))
    centres, rows, cluster = kmeans(x[inside], num_states, seed, unit=unit)
    if in_time:
        place, cluster_of = _place(lengths, x.shape[1])[inside], _nearest(x, centres, unit)[inside]
        order = _means(place.to(rows.dtype), cluster_of, num_states).argsort()
        centres, cluster = centres[order], order.argsort()[cluster]
    return FrameClusters(centres, rows, cluster, unit)


def chain_start(x: Tensor, lengths: Tensor, clusters: FrameClusters) -> tuple[Tensor, Tensor]:
    """Chances of the first state ``(C,)`` and of transitions ``(C, C)``: how often one cluster follows another, plus
    one."""
    num_states, kind = len(clusters.centres), clusters.rows.dtype
    inside, label = sequence_mask(lengths, x.shape[1]), _nearest(x, clusters.centres, clusters.unit)
    pairs = (label[:, :-1] * num_states + label[:, 1:])[inside[:, 1:]]
    follows = torch.bincount(pairs, minlength=num_states**2).reshape(num_states, num_states).to(kind) + 1
    first = torch.bincount(label[:, 0][lengths > 0], minlength=num_states).to(kind) + 1
    return first / first.sum(), follows / follows.sum(-1, keepdim=True)


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


def code_start(
    x: Tensor, lengths: Tensor, num_states: int, num_categories: int, seed: int, in_time: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Chances of codes in each state, ``(C, V)``; of the first state, ``(C,)``, and of transitions, ``(C, C)``.

    Codes have the compositions of clusters, by k-means, of short windows; of equal parts of the sequences if `in_time`.
    They are drawn towards their average, with noise that depends on `seed`: states of the same composition, which
    differ in what follows them, do not start equal.
    """
    generator = torch.Generator().manual_seed(seed)
    if in_time:
        shares, average = _segments(x, lengths, num_states, num_categories)
    else:
        windows = _windows(x, lengths, max(_WINDOWS, 2 * num_states), num_categories, generator)
        shares, average = kmeans(windows, num_states, seed)[0], windows.mean(0)
    noise = torch.rand(shares.shape, generator=generator, dtype=torch.float64).to(shares)
    rough = (shares + 0.1 * average + 0.1 / num_categories) * (0.75 + 0.5 * noise)
    stay = torch.eye(num_states, dtype=torch.float64)
    return rough / rough.sum(-1, keepdim=True), stay.mean(0), 0.8 * stay + 0.2 / num_states


def _segments(x: Tensor, lengths: Tensor, num_states: int, num_categories: int) -> tuple[Tensor, Tensor]:
    """The composition of C equal parts of the sequences, from first to last, ``(C, V)``, and of all, ``(V,)``."""
    inside = sequence_mask(lengths, x.shape[1])
    part = (num_states * _place(lengths, x.shape[1])).long()[inside]
    counts = torch.bincount(part * num_categories + x[inside].long(), minlength=num_states * num_categories)
    counts = counts.reshape(num_states, num_categories).to(torch.get_default_dtype())
    return counts / counts.sum(-1, keepdim=True).clamp_min(1), counts.sum(0) / counts.sum()


def _windows(x: Tensor, lengths: Tensor, num: int, num_categories: int, generator: torch.Generator) -> Tensor:
    """The compositions of `num` windows of codes, ``(num, V)``, of at most 15 steps at random places in sequences."""
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
    return counts / counts.sum(-1, keepdim=True)
