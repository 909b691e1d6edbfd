"""Pareto smoothed importance weights of one set of draws."""

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
        log_weights: ``(K,)``, finite or ``-inf``.

    Returns:
        ``(K,)``, float64, with sum one.

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
    if bool(tail.k.isfinite()):
        count = int(tail.length)
        rank = torch.arange(count, dtype=weights.dtype, device=weights.device) + 0.5  # of the largest first
        rise, k = -(rank / count).log(), float(tail.shape)
        rise = rise if abs(k) < 1e-9 else torch.expm1(k * rise) / k
        weights[weights.topk(count).indices] = (tail.cutoff + tail.scale * rise).clamp(max=1.0)
    return weights / weights.sum()
