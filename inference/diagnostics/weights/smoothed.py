"""Pareto smoothed importance weights."""

from __future__ import annotations

__all__ = ["smoothed_weights"]

import torch
from torch import Tensor

from .pareto import LargestWeights


def smoothed_weights(log_weights: Tensor) -> Tensor:
    r"""Normalised weights whose ``M`` largest are the order statistics of the Pareto distribution fitted to them.

    .. math:: w_{(K - M + z)} \leftarrow F^{-1}\Big(\frac{z - 1/2}{M}\Big), \qquad
       F^{-1}(p) = u + \frac{\sigma}{k} \big((1 - p)^{-k} - 1\big)

    none above the largest that was drawn. Weights that hardly vary, or that leave no tail to fit, are only normalised.

    Args:
        log_weights: ``(K, ...)``, finite or ``-inf``; each of ``(...)`` is a set of its own.

    Returns:
        ``(K, ...)``, float64, with sums one over the first dimension.

    Reference: A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, "Pareto smoothed importance sampling", JMLR 25(72),
    2024, https://jmlr.org/papers/v25/19-556.html.

    Example:
        >>> smoothed_weights(torch.zeros(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
    """
    largest = LargestWeights(len(log_weights))
    largest.update(log_weights)
    tail = largest.tail()
    weights = (log_weights.double() - tail.largest).exp()
    if not bool(tail.k.isfinite().any()):
        return weights / weights.sum(0)
    order = weights.argsort(0, descending=True)
    rank = torch.arange(len(weights), dtype=weights.dtype, device=weights.device) + 0.5  # of the largest first
    rank = rank.reshape(-1, *(1,) * (weights.dim() - 1))
    inside = (rank < tail.length) & tail.k.isfinite()
    rise = -(rank / tail.length.clamp(min=1)).clamp(max=1.0).log()
    k = torch.where(tail.k.isfinite(), tail.shape, 0.0)
    bent = torch.expm1(k * rise) / torch.where(k.abs() < 1e-9, 1.0, k)
    smooth = tail.cutoff + tail.scale * torch.where(k.abs() < 1e-9, rise, bent)
    weights = weights.scatter(0, order, torch.where(inside, smooth.clamp(max=1.0), weights.gather(0, order)))
    return weights / weights.sum(0)
