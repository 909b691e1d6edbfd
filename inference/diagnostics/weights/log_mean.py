r"""The log of a mean of importance weights, without its bias, and an error that covers where the tail is heavy.

Of ``K`` weights, the :math:`M` above :math:`u` are taken for draws from one of the Pareto laws :math:`(k_j, \sigma_j)`
that Zhang and Stephens' fit averages over, in proportion to the root of their likelihood :math:`\ell_j` (tails are
Pareto only in the limit). With each, :math:`k_j < 1`, the mean weight would be

.. math:: Z_j = \frac1K \Big( \sum_{w_i \le u} w_i + M \Big( u + \frac{\sigma_j}{1 - k_j} \Big) \Big),

with a sampling variance :math:`v_j` that holds all but the error of :math:`j`. The value is
:math:`\log \hat Z = \log \bar w + \frac12 v`, where :math:`v` is the delta method's variance of :math:`\log \bar w`,
which takes off the bias of the logarithm. Its squared error is

.. math:: s^2 = \max\Big( v,\ \sum_j p_j \big[ v_j + (\log Z_j - \log \hat Z)^2 \big] \Big), \qquad
   p_j \propto \ell_j^{1/2} .

The largest of few weights rarely holds its share of the mean, so that :math:`v` alone is too small, and the error is
upwards more than downwards: the sum counts both. Where no law with a mean has a chance, the heaviest that has one is
taken (a k-hat above the threshold says then that no error can be relied on). With light tails both parts of the maximum
agree. Averages of the smoothed weights themselves (order statistics of the fitted law, none above the largest) vary
less and are for effective numbers; their mean is too low where tails are heavy.

References: A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, "Pareto smoothed importance sampling", JMLR 25(72),
2024, https://jmlr.org/papers/v25/19-556.html; J. Johansson, "Estimating the mean of heavy-tailed distributions",
Extremes 6, 2003, https://doi.org/10.1023/A:1025570300862.
"""

from __future__ import annotations

__all__ = ["log_mean_error", "smoothed_size"]

import torch
from torch import Tensor

from .pareto import Tail

_MOST = 0.99  # of k_j: the mean of heavier tails does not exist
_RULED_OUT = 1e6  # off the log likelihood of laws that have no mean


def log_mean_error(tail: Tail, total: Tensor, squares: Tensor, num_particles: int, plain: Tensor) -> Tensor:
    r"""The squared error :math:`s^2` of :math:`\log \hat Z`, ``(...)``.

    Args:
        tail: of the weights; where nothing could be fitted to it, the error is `plain`.
        total: ``(...)``, the sum of the weights, in units of the largest.
        squares: ``(...)``, the sum of their squares.
        num_particles: ``K``, at least two.
        plain: ``(...)``, :math:`v`, of the delta method.
    """
    count = float(num_particles)
    inside = tail.excess > 0.0
    weights = torch.where(inside, tail.cutoff[..., None] + tail.excess, 0.0)
    body, body_squares = total - weights.sum(-1), squares - weights.square().sum(-1)
    mass = tail.length.to(body.dtype)
    heavy = tail.shapes >= _MOST
    chance = torch.softmax(0.5 * tail.heights - torch.where(heavy, _RULED_OUT, 0.0), -1)
    lacking = 1.0 - mass.clamp(min=2.0) ** (_MOST - 1.0)  # what the largest of M holds of the mean, of the heaviest law
    seen = tail.excess.sum(-1) / mass.clamp(min=1.0)
    excess = torch.where(heavy, (seen / lacking)[..., None], tail.scales / (1.0 - tail.shapes.clamp(max=_MOST)))
    level = tail.cutoff[..., None] + excess
    sums = body[..., None] + mass[..., None] * level
    sum_squares = body_squares[..., None] + mass[..., None] * level.square()
    sampling = (count * sum_squares / sums.square() - 1.0).clamp(min=0.0) / (count - 1.0)
    apart = torch.log(sums / total[..., None]) - 0.5 * plain[..., None]
    spread = torch.where(chance > 0.0, chance * (sampling + apart.square()), 0.0).sum(-1)
    return torch.where(tail.k.isfinite(), torch.maximum(spread, plain), plain)


def smoothed_size(tail: Tail, total: Tensor, squares: Tensor, num_particles: int) -> Tensor:
    r"""Effective number of particles :math:`(\sum \tilde w)^2 / \sum \tilde w^2` of the smoothed weights, ``(...)``.

    The :math:`z`-th of the ``M`` largest is the fitted law's quantile of :math:`(z - 1/2) / M`, at most the largest.
    """
    inside = tail.excess > 0.0
    weights = torch.where(inside, tail.cutoff[..., None] + tail.excess, 0.0)
    rank = torch.arange(weights.shape[-1], dtype=weights.dtype, device=weights.device) + 0.5  # of the largest first
    mass = tail.length.clamp(min=1).to(weights.dtype)[..., None]
    survival = torch.log((rank / mass).clamp(max=1.0))
    chance = torch.softmax(tail.heights, -1)
    k = tail.k.clamp(-10.0, 10.0)[..., None]
    k = torch.where(k.abs() < 1e-6, 1e-6, k)
    scale = torch.where(chance > 0.0, chance * tail.scales, 0.0).sum(-1)[..., None]
    smoothed = (tail.cutoff[..., None] + scale / k * torch.expm1(-k * survival)).clamp(max=1.0)
    smoothed = torch.where(inside, smoothed, 0.0)
    first = total - weights.sum(-1) + smoothed.sum(-1)
    second = squares - weights.square().sum(-1) + smoothed.square().sum(-1)
    plain = total.square() / squares
    return torch.where(tail.k.isfinite(), (first.square() / second).clamp(1.0, num_particles), plain)
