r"""How much of a mean-field guide's log weights is due to latents that the posterior ties together.

With draws :math:`z_s` of independent latents, standardised, log weights :math:`\ell_s` have the orthogonal parts

.. math:: \ell = c + \sum_i a_i z_i + \sum_i b_i (z_i^2 - 1) + \sum_{i < j} t_{ij} z_i z_j + \dots,
   \qquad t_{ij} = \mathrm{E}[\ell \, z_i z_j],

so that of a normal posterior :math:`-t_{ij}` is the precision between i and j, in units of the guide's standard
deviations (Stein's identity). At the mean-field optimum of a normal posterior a and b are zero, and the interactions
are all that is left of the variance of the weights. This holds however large that variance is, where the weights
themselves are of no use.

Reference: Liu (1994), Siegel's formula via Stein's identities, https://doi.org/10.1016/0167-7152(94)90121-X
"""

from __future__ import annotations

__all__ = ["Dependence", "dependence"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .varying import side_by_side, varying

_FEWEST, _MOST = 100, 1_000  # draws; numbers of the latents


@dataclass(frozen=True)
class Dependence:
    """What of the variance of log weights interactions of two latents explain.

    Attributes:
        share: from 0 to 1.
        pair: the two numbers that matter most, such as ``("a", "b[3]")``.
    """

    share: float
    pair: tuple[str, str]


def dependence(log_weights: Tensor, draws: Mapping[str, Tensor]) -> Dependence | None:
    """The share of the interactions; None for fewer than two numbers that vary, or too few weights that are finite.

    Args:
        log_weights: ``(K,)``, log importance weights.
        draws: by latent, ``(K, *shape)``, of a guide in which their numbers are independent.
    """
    names, z = side_by_side(draws)
    finite = torch.isfinite(log_weights) & torch.isfinite(z).all(-1)
    z, log_weights = z[finite], log_weights.double()[finite]
    count = len(z)
    if count < _FEWEST or not 2 <= z.shape[1] <= _MOST:
        return None
    names, z, spread = varying(names, z)
    z = (z - z.mean(0)) / spread
    weight = log_weights - log_weights.mean()
    total = float(weight.square().mean())
    if z.shape[1] < 2 or not 0.0 < total < math.inf:
        return None
    ties = (z.mT * weight) @ z / count
    square = z.square()
    noise = ((square.mT * weight.square()) @ square / count - ties.square()) / count
    above = torch.triu(torch.ones_like(ties), diagonal=1).bool()
    found = (ties.square() - noise)[above].sum()
    at = int((ties.abs() * above).argmax())
    first, second = divmod(at, len(names))
    return Dependence(min(1.0, max(0.0, float(found) / total)), (names[first], names[second]))
