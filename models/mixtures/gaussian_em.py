"""Expectation and maximisation of a Gaussian mixture, each component in its own coordinates."""

from __future__ import annotations

__all__ = ["Moments", "expected_statistics", "log_densities", "log_normalizer", "maximise"]

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.linalg import inverse_triangular

_CHUNK = 1 << 18  # numbers of one temporary; it then stays in the processor's cache


@dataclass(frozen=True)
class Moments:
    r"""Expected sufficient statistics in whitened coordinates :math:`y_{nk} = L_k^{-1} (x_n - \mu_k)`.

    Attributes:
        counts: :math:`N_k = \sum_n r_{nk}`, ``(C,)``.
        first: :math:`\sum_n r_{nk} y_{nk}`, ``(C, D)``.
        second: :math:`\sum_n r_{nk} y_{nk} y_{nk}^\top`, ``(C, D, D)``; its diagonal ``(C, D)`` for axis-aligned ones.
    """

    counts: Tensor
    first: Tensor
    second: Tensor


def expected_statistics(
    x: Tensor, weights: Tensor, means: Tensor, scale: Tensor, times: Tensor | None = None
) -> tuple[Moments, Tensor]:
    r"""The E step: responsibilities are used as they are made, so memory is ``O(N + C D^2)`` beside the data.

    In the components' own coordinates the statistics are sums of numbers of order one, whatever the data's origin and
    units: nothing large is subtracted from anything large.

    Args:
        x: ``(N, D)``.
        weights: ``(C,)``; means: ``(C, D)``.
        scale: Cholesky factors ``(C, D, D)``, or standard deviations ``(C, D)``.
        times: how often each row counts, ``(N,)``; None for once.

    Returns:
        The moments, and the log likelihood of all the data, ``()``.
    """
    full = scale.dim() == 3
    constant = weights.log() + log_normalizer(scale)
    counts, first = torch.zeros_like(weights), torch.zeros_like(means)
    second, likelihood, start = torch.zeros_like(scale), x.new_zeros(()), 0
    for y in _whitened(x, means, scale):
        squares = y.square()
        joint = torch.add(constant.unsqueeze(-1), squares.sum(1), alpha=-0.5)  # (C, n)
        log_p = joint.logsumexp(0)
        share = (joint - log_p).exp_()
        if times is not None:
            part = times[start : start + len(log_p)]
            share, log_p, start = share * part, log_p * part, start + len(log_p)
        likelihood += log_p.sum()
        counts += share.sum(1)
        first += torch.bmm(share.unsqueeze(1), y.mT).squeeze(1)
        if full:
            second.baddbmm_(y * share.unsqueeze(1), y.mT)
        else:
            second += torch.bmm(share.unsqueeze(1), squares.mT).squeeze(1)
    return Moments(counts, first, second), likelihood


def log_densities(x: Tensor, means: Tensor, scale: Tensor) -> Tensor:
    r""":math:`\log \mathcal N(x_n; \mu_k, \Sigma_k)`, ``(N, C)``, arguments as in :func:`expected_statistics`.

    Nothing of size ``N C D`` is held, unless a gradient is asked for."""
    constant = log_normalizer(scale).unsqueeze(-1)
    parts = [torch.add(constant, y.square().sum(1), alpha=-0.5).mT for y in _whitened(x, means, scale)]
    return torch.cat(parts)


def log_normalizer(scale: Tensor) -> Tensor:
    """The log density of each component at its mean, ``(C,)``."""
    deviations = scale.diagonal(dim1=-2, dim2=-1) if scale.dim() == 3 else scale
    return -deviations.log().sum(-1) - 0.5 * scale.shape[1] * math.log(2 * math.pi)


def _whitened(x: Tensor, means: Tensor, scale: Tensor) -> Iterator[Tensor]:
    r""":math:`y_{nk} = L_k^{-1} (x_n - \mu_k)` of some rows at a time, ``(C, D, n)``."""
    num_components, num_features = means.shape
    parts = (part.mT.contiguous() for part in x.split(max(256, _CHUNK // (num_components * num_features))))
    if scale.dim() == 2:
        whiten = scale.reciprocal().unsqueeze(-1)
        yield from ((part - means.unsqueeze(-1)) * whiten for part in parts)
        return
    whiten = inverse_triangular(scale)
    if x.dtype != torch.float64:  # components may be 1e-4 of their distances
        yield from (torch.bmm(whiten, part - means.unsqueeze(-1)) for part in parts)
        return
    # One product for all, of deviations from one origin: what cancels are distances in units of a component.
    origin = means.mean(0).unsqueeze(-1)
    rows = whiten.flatten(0, 1)
    places = (whiten @ (means - origin.mT).unsqueeze(-1)).flatten(0, 1)
    for part in parts:
        yield torch.addmm(places, rows, part - origin, beta=-1).view(num_components, num_features, -1)


def maximise(moments: Moments, means: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""The M step, back in the data's coordinates: weights ``(C,)``, means ``(C, D)`` and each component's covariance,
    ``(C, D, D)`` or its diagonal ``(C, D)``.

    .. math:: \mu_k \leftarrow \mu_k + L_k \bar y_k, \qquad
       \Sigma_k \leftarrow L_k (\overline{yy^\top}_k - \bar y_k \bar y_k^\top) L_k^\top

    A component to which no datum belongs keeps its place and shape, and a weight of almost nothing.
    """
    tiny = torch.finfo(means.dtype).eps * moments.counts.sum().clamp_max(1.0)  # rows may have little weight
    empty = moments.counts <= 10 * tiny
    total = moments.counts.clamp_min(10 * tiny)
    average = (moments.first / total.unsqueeze(-1)).masked_fill(empty.unsqueeze(-1), 0.0)
    weights = moments.counts.clamp_min(tiny)
    weights = weights / weights.sum()
    if scale.dim() == 3:
        spread = moments.second / total[:, None, None] - average.unsqueeze(-1) * average.unsqueeze(-2)
        eye = torch.eye(means.shape[1], dtype=means.dtype, device=means.device)
        spread = torch.where(empty[:, None, None], eye, spread)
        moved = means + (scale @ average.unsqueeze(-1)).squeeze(-1)
        return weights, moved, scale @ spread @ scale.mT
    spread = moments.second / total.unsqueeze(-1) - average.square()
    spread = torch.where(empty.unsqueeze(-1), torch.ones_like(spread), spread)
    return weights, means + scale * average, scale.square() * spread
