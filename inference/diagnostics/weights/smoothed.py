"""Pareto smoothed importance weights of one set of draws."""

from __future__ import annotations

__all__ = ["smoothed_weights"]

import math

import torch
from torch import Tensor

from .pareto import tail_length

_FEWEST = 5  # weights of a tail that is fitted
_PRIOR_SCALE = 3.0


def smoothed_weights(log_weights: Tensor) -> Tensor:
    r"""Normalised weights whose ``M`` largest are the order statistics of the Pareto distribution fitted to them.

    .. math:: w_{(K - M + z)} \leftarrow F^{-1}\Big(\frac{z - 1/2}{M}\Big), \qquad
       F^{-1}(p) = u + \frac{\sigma}{k} \big((1 - p)^{-k} - 1\big)

    none above the largest that was drawn. Weights that hardly vary, or that leave no tail to fit, are only normalised.

    Args:
        log_weights: ``(K,)``, finite or ``-inf``.

    Returns:
        ``(K,)``, float64, with sum one.

    Reference: A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, "Pareto smoothed importance sampling", JMLR 25(72),
    2024, https://jmlr.org/papers/v25/19-556.html.

    Example:
        >>> smoothed_weights(torch.zeros(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
    """
    shifted = log_weights.double() - log_weights.double().max()
    weights = shifted.exp()
    count = tail_length(len(weights))
    if len(weights) > count:
        order = weights.argsort()
        tail, cutoff = order[-count:], weights[order[-count - 1]]
        excess = weights[tail] - cutoff
        if int((excess > 0).sum()) >= _FEWEST and float(excess[-1]) > 1e-8:
            k, scale = _pareto(excess.clamp(min=torch.finfo(excess.dtype).tiny))
            left = 1.0 - (torch.arange(1, count + 1, dtype=excess.dtype, device=excess.device) - 0.5) / count
            rise = -left.log() if abs(k) < 1e-9 else torch.expm1(-k * left.log()) / k
            weights[tail] = (cutoff + scale * rise).clamp(max=1.0)
    return weights / weights.sum()


def _pareto(excess: Tensor) -> tuple[float, float]:
    """Shape and scale of the generalised Pareto distribution of ``(M,)`` ascending exceedances (Zhang and Stephens)."""
    count = len(excess)
    grid = 30 + math.isqrt(count)
    j = torch.arange(1, grid + 1, dtype=excess.dtype, device=excess.device)
    quartile = excess[int(count / 4 + 0.5) - 1]
    b = 1.0 / excess[-1] + (1.0 - torch.sqrt(grid / (j - 0.5))) / (_PRIOR_SCALE * quartile)
    k = torch.log1p(-b.unsqueeze(-1) * excess).mean(-1)
    height = count * (torch.log(-b / k) - k - 1.0)
    best = (b * torch.softmax(height, 0)).sum()
    shape = torch.log1p(-best * excess).mean()
    return float(shape), float(-shape / best)
