r"""One Pathfinder path: a quasi-Newton way towards the mode, and the normal on it with the best bound.

.. math:: q_l = \mathcal N(u_l + H_l \nabla \log \tilde p(u_l),\; H_l), \qquad
   \widehat{\mathcal L}_l = \frac1M \sum_m \log \tilde p(u^{(m)}) - \log q_l(u^{(m)})

with :math:`H_l` the inverse Hessian that the way has learned by its l-th point. Where the mode is at infinity the bound
rises and then falls along the way, so that the best normal is not at its end.

Reference: Zhang, Carpenter, Gelman and Vehtari (2022), Pathfinder: Parallel quasi-Newton variational inference,
https://arxiv.org/abs/2108.03782
"""

from __future__ import annotations

__all__ = ["PathResult", "follow_path"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .normal import Normal
from .quasi_newton import LogDensity, Point, climb, measured_hessian, positive_inverse

_STEPS = 150  # of one climb, before the curvature is measured again
_CLIMBS = 4
_CANDIDATES = 24
_DONE = 1e-6  # nats that a Newton step would still bring


@dataclass(frozen=True)
class PathResult:
    """The best normal of a path.

    Attributes:
        normal: the approximation.
        bound: its evidence lower bound, nats.
        stderr: standard error of `bound`.
        steps: quasi-Newton steps of the path.
        converged: whether the path ended at a mode.
    """

    normal: Normal
    bound: float
    stderr: float
    steps: int
    converged: bool


def follow_path(log_density: LogDensity, start: Tensor, spread: Tensor, noise: Tensor) -> PathResult | None:
    """The best normal on the path from `start`, or None where the density has no value there.

    Args:
        log_density: value and gradient of rows ``(K, D)``, for one row and for as many as `noise` has.
        start: ``(D,)``.
        spread: ``(D,)`` of the prior: what stands for a curvature where there is none.
        noise: ``(M, D)`` standard noise, the same for every normal that is compared.
    """
    rows = len(noise)
    values, gradients = log_density(start.unsqueeze(0))
    if not bool(torch.isfinite(values).all() and torch.isfinite(gradients).all()):
        return None
    inverse = positive_inverse(measured_hessian(log_density, start, spread, rows), spread)
    here = Point(start, float(values[0]), gradients[0], inverse)
    points, steps, converged = [here], 0, False
    for _ in range(_CLIMBS):
        way = climb(log_density, here, steps=_STEPS)
        steps += len(way) - 1
        points += way[1:]
        last = way[-1]
        nearby = last.inverse.diagonal().clamp(min=0.0).sqrt().minimum(spread)
        inverse = positive_inverse(measured_hessian(log_density, last.u, nearby, rows), spread)
        here = Point(last.u, last.value, last.gradient, inverse)
        points.append(here)
        if converged := here.decrement < _DONE:
            break
    best: PathResult | None = None
    for point in _chosen(points):
        normal = _normal_at(point)
        if normal is None:
            continue
        draws, log_q = normal.draw(noise)
        ratios = log_density(draws)[0] - log_q
        bound = float(ratios.mean())
        if math.isfinite(bound) and (best is None or bound > best.bound):
            stderr = float(ratios.std()) / math.sqrt(rows)
            best = PathResult(normal, bound, stderr, steps, converged)
    return best


def _chosen(points: Sequence[Point]) -> list[Point]:
    """At most `_CANDIDATES` of them, more of the late ones than of the early ones."""
    count = len(points)
    if count <= _CANDIDATES:
        return list(points)
    back = {min(count - 1, round(count ** (i / (_CANDIDATES - 1))) - 1 + i // 2) for i in range(_CANDIDATES)}
    return [points[count - 1 - i] for i in sorted(back)]


def _normal_at(point: Point) -> Normal | None:
    """The normal of the local quadratic model, or None where the inverse Hessian is not positive definite."""
    inverse = 0.5 * (point.inverse + point.inverse.mT)
    factor, failed = torch.linalg.cholesky_ex(inverse)
    if int(failed) or not bool(torch.isfinite(factor).all()):
        return None
    return Normal(point.u + inverse @ point.gradient, factor)
