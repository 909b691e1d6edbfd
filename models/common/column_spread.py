"""How far a column's values lie apart, whatever a few of them are."""

from __future__ import annotations

__all__ = ["column_spread", "or_one"]

import torch
from torch import Tensor

_ROWS = 10_000  # of which the spread is taken, at most
_TAIL = 0.025


@torch.no_grad()
def column_spread(x: Tensor) -> Tensor:
    """The spread of each column of ``(N, D)``, ``(D,)``: its winsorised standard deviation, for which the lowest and
    the highest fortieth of the values are drawn in to the next ones. A few outliers do not count.

    Where all others are equal it is the plain standard deviation; zero if that is so but for rounding. NaN entries are
    left out. Of more than 10,000 rows it is a sample's, always the same.

    Reference: J. Tukey, *The Future of Data Analysis*, 1962, https://doi.org/10.1214/aoms/1177704711
    """
    if len(x) > _ROWS:
        chosen = torch.randint(len(x), (_ROWS,), generator=torch.Generator().manual_seed(0), device="cpu")
        x = x[chosen.to(x.device)]
    low, high = torch.nanquantile(x, x.new_tensor([_TAIL, 1 - _TAIL]), dim=0)
    seen = ~x.isnan()
    robust, plain = _deviation(torch.clamp(x, low, high), seen), _deviation(x, seen)
    return torch.where(robust > 0, robust, plain)


def or_one(spread: Tensor) -> Tensor:
    """The same with one in the place of zero: a column without spread sets no scale, and keeps its own units."""
    return torch.where(spread > 0, spread, 1.0)


def _deviation(x: Tensor, seen: Tensor) -> Tensor:
    """Standard deviation of the columns' entries that are `seen`, ``(D,)``; zero if rounding may have made it."""
    counts = seen.sum(0).clamp_min(1)
    mean = torch.where(seen, x, 0.0).sum(0) / counts
    found = (torch.where(seen, x - mean, 0.0).square().sum(0) / counts).sqrt()
    return torch.where(found > 10 * torch.finfo(x.dtype).eps * mean.abs(), found, 0.0)
