r"""The sliced Wasserstein distance between two sets of draws.

.. math:: \mathrm{SW}_2^2(P, Q) = \mathbb E_{\theta \sim \mathrm{U}(S^{D - 1})} W_2^2(\theta^\top P, \theta^\top Q),
   \qquad W_2^2(p, q) = \int_0^1 (F_p^{-1}(t) - F_q^{-1}(t))^2 \, dt.

On a line the distance matches ordered draws. Draws of one and the same distribution are at a distance above 0, which
falls with their number: that of two halves of one set says how much.

Reference: Bonneel, Rabin, Peyré and Pfister (2015), Sliced and Radon Wasserstein barycenters of measures,
https://doi.org/10.1007/s10851-014-0506-3
"""

from __future__ import annotations

__all__ = ["sliced_wasserstein"]

import math

import torch
from torch import Tensor

_BLOCKS = 20


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int, generator: torch.Generator) -> tuple[float, float]:
    """The distance and its standard error: a jackknife over blocks of draws, and the spread over directions.

    Args:
        x, y: ``(n, D)`` equally many draws, a multiple of 20, neighbours of a chain beside each other.
        directions: how many; one where D is 1.
        generator: of the directions.
    """
    dim = x.shape[1]
    axes = torch.ones(1, 1, dtype=x.dtype)
    if dim > 1:
        axes = torch.nn.functional.normalize(torch.randn(directions, dim, generator=generator, dtype=x.dtype), dim=1)
    one, two = (_ordered(axes @ rows.mT) for rows in (x, y))
    squares = (one[0] - two[0]).square().mean(1)
    value = float(squares.mean().sqrt())
    without = torch.stack([_without(one, two, block) for block in range(_BLOCKS)]).sqrt()
    variance = float((_BLOCKS - 1) * without.var(correction=0))
    if dim > 1 and value > 0.0:
        variance += float(squares.var()) / directions / (4.0 * value**2)
    return value, math.sqrt(variance)


def _ordered(projected: Tensor) -> tuple[Tensor, Tensor]:
    """Each direction's draws in order ``(directions, n)``, and the block of each."""
    values, places = projected.sort(1)
    return values, places // (projected.shape[1] // _BLOCKS)


def _without(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], block: int) -> Tensor:
    """The squared distance without the draws of one block of each."""
    rows = len(one[0])
    left, right = (values[blocks != block].reshape(rows, -1) for values, blocks in (one, two))
    return (left - right).square().mean()
