r"""Draws of several normals, resampled as draws of the posterior by Pareto smoothed importance weights.

.. math:: u \sim \frac1P \sum_i q_i, \qquad w(u) = \tilde p(u) \Big/ \frac1P \sum_i q_i(u)

Weights are against the mixture of all paths' normals, so that a mode which several paths have found counts once (in
Algorithm 2 of Zhang et al. each draw is weighed against its own path's normal, and such a mode counts once a path).

References: Zhang, Carpenter, Gelman and Vehtari (2022), https://arxiv.org/abs/2108.03782
Owen and Zhou (2000), Safe and effective importance sampling, https://doi.org/10.1080/01621459.2000.10473909
"""

from __future__ import annotations

__all__ = ["Resampled", "resampled"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...diagnostics.weights.pareto import k_threshold, psis_k
from ...diagnostics.weights.smoothed import smoothed_weights
from .normal import Normal
from .quasi_newton import LogDensity

_POOL = 1_000  # draws of each normal, at least


@dataclass(frozen=True)
class Resampled:
    """Draws of the posterior.

    Attributes:
        u: ``(S, D)``, unconstrained, in random order; equal rows are the same draw.
        pareto_k: k-hat of the weights of the pool.
        threshold: the k-hat above which so many weights do not suffice.
    """

    u: Tensor
    pareto_k: float
    threshold: float


def resampled(log_density: LogDensity, normals: Sequence[Normal], count: int, generator: torch.Generator) -> Resampled:
    """`count` draws of the posterior from a pool of draws of all normals."""
    like = normals[0].loc
    each = max(_POOL, math.ceil(count / len(normals)))
    pool = torch.cat(
        [
            normal.draw(torch.randn(each, len(like), generator=generator, dtype=like.dtype, device=like.device))[0]
            for normal in normals
        ]
    )
    log_q = torch.stack([normal.log_prob(pool) for normal in normals]).logsumexp(0) - math.log(len(normals))
    log_weights = (log_density(pool)[0] - log_q).nan_to_num(nan=-math.inf, posinf=-math.inf)
    weights = smoothed_weights(log_weights)
    start = torch.rand((), generator=generator, dtype=weights.dtype, device=weights.device)
    places = (torch.arange(count, dtype=weights.dtype, device=weights.device) + start) / count
    chosen = torch.searchsorted(weights.cumsum(0), places).clamp(max=len(pool) - 1)
    order = torch.randperm(count, generator=generator, device=like.device)
    return Resampled(pool[chosen[order]], float(psis_k(log_weights)), k_threshold(len(pool)))
