r"""What importance weights say of the means and standard deviations of a guide's draws.

For a number h of the latents, with draws :math:`h_s` and smoothed weights :math:`\tilde w_s` (sum one),

.. math:: \hat\mu = \sum_s \tilde w_s h_s, \qquad \hat\sigma^2 = \sum_s \tilde w_s (h_s - \hat\mu)^2

beside the plain mean and standard deviation of the same draws. The tail of :math:`(h_s - \hat\mu)^2 w_s` has a k-hat of
its own, which is larger than that of the weights where the posterior reaches farther out than the guide.

Reference: A. Vehtari et al., "Pareto smoothed importance sampling", JMLR 25(72), 2024, section 2.4,
https://jmlr.org/papers/v25/19-556.html
"""

from __future__ import annotations

__all__ = ["Moments", "weighted_moments"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .pareto import psis_k
from .smoothed import smoothed_weights
from .varying import side_by_side, varying


@dataclass(frozen=True)
class Moments:
    """``(D,)`` each, for the numbers that vary.

    Attributes:
        names: of the numbers, such as ``"w[3]"``.
        k_weights: k-hat of the weights.
        k: k-hat of the squared deviations times the weights.
        shift: the guide's mean minus the weighted one, in weighted standard deviations.
        shift_error: its standard error.
        log_ratio: log of the guide's standard deviation over the weighted one.
        log_ratio_error: its standard error.
    """

    names: list[str]
    k_weights: float
    k: Tensor
    shift: Tensor
    shift_error: Tensor
    log_ratio: Tensor
    log_ratio_error: Tensor


def weighted_moments(log_weights: Tensor, draws: Mapping[str, Tensor]) -> Moments:
    """Compare a guide's moments with those that the weights say.

    Args:
        log_weights: ``(K,)``, log importance weights.
        draws: by latent, ``(K, *shape)``, in its own space.
    """
    count = len(log_weights)
    log_weights = log_weights.double()
    names, x, spread = varying(*side_by_side(draws))
    weights = smoothed_weights(log_weights)
    plain = x - x.mean(0)
    mean = weights @ x
    off = x - mean
    square = off.square()
    variance = (weights @ square).clamp(min=torch.finfo(x.dtype).tiny)
    sd = variance.sqrt()
    relative = (weights * count).unsqueeze(-1)
    pull = relative * off - plain
    bend = relative * (square / variance - 1.0) - (plain.square() / spread.square() - 1.0)
    return Moments(
        names,
        float(psis_k(log_weights)),
        psis_k(log_weights.unsqueeze(-1) + square.log()),
        (x.mean(0) - mean) / sd,
        pull.std(0) / math.sqrt(count) / sd,
        (spread / sd).log(),
        0.5 * bend.std(0) / math.sqrt(count),
    )
