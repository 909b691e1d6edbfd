r"""The squared maximum mean discrepancy between two sets of draws, without bias.

.. math:: \mathrm{MMD}^2(P, Q) = \mathbb E\, k(x, x') + \mathbb E\, k(y, y') - 2\, \mathbb E\, k(x, y), \qquad
   k(a, b) = \exp \Bigl( -\frac{\lVert a - b \rVert^2}{2 h^2} \Bigr),

with h the median distance between two draws of Q. It is 0 where P = Q, at most 2, and its estimate may fall below 0.
Only pairs of different blocks of draws count, so that neighbours in a chain do not.

Reference: Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012), A kernel two-sample test, lemma 6,
https://jmlr.org/papers/v13/gretton12a.html
"""

from __future__ import annotations

__all__ = ["squared_mmd"]

import math

import torch
from torch import Tensor

_BLOCKS = 20


def squared_mmd(x: Tensor, y: Tensor) -> tuple[float, float, float]:
    """The estimate, its standard error (a jackknife over blocks), and the bandwidth h.

    Args:
        x: draws of P, ``(n, D)``, n a multiple of 20, neighbours of a chain beside each other.
        y: draws of Q, ``(n, D)``.
    """
    between = torch.cdist(y, y)
    width = float(between[~torch.eye(len(y), dtype=torch.bool)].median()) or 1.0
    pairs = _sums(between, width) + _sums(torch.cdist(x, x), width)
    across = _sums(torch.cdist(x, y), width)
    pairs = pairs - across - across.mT  # h of the blocks (x_g, y_g) and (x_g', y_g')
    pairs.fill_diagonal_(0.0)
    total, own = pairs.sum(), pairs.sum(1)
    value = float(total) / (_BLOCKS * (_BLOCKS - 1))
    without = (total - 2.0 * own) / ((_BLOCKS - 1) * (_BLOCKS - 2))
    return value, math.sqrt(float((_BLOCKS - 1) * without.var(correction=0))), width


def _sums(distances: Tensor, width: float) -> Tensor:
    """The kernel's mean over the pairs of each two blocks, ``(G, G)``."""
    size = len(distances) // _BLOCKS
    kernel = distances.div(width).square().mul(-0.5).exp()
    return kernel.reshape(_BLOCKS, size, _BLOCKS, size).mean((1, 3))
