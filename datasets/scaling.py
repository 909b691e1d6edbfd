"""`Standardizer`: columns to mean 0 and standard deviation 1, with the statistics of the training data."""

from __future__ import annotations

__all__ = ["Standardizer"]

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Standardizer:
    """`x -> (x - mean) / scale`, column by column, in float64: only the result is rounded to the type of `x`.

    Args:
        mean: `(*features)`, in the units of `x`, float64.
        scale: `(*features)`, positive, in the units of `x`, float64.

    Example:
        >>> import torch
        >>> from jensen.datasets import Standardizer
        >>> x = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
        >>> Standardizer.fit(x)(x)
        tensor([[-1.,  0.],
                [ 1.,  0.]])
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, x: Tensor, *, missing: bool = False) -> Standardizer:
        """Mean and (population) standard deviation of each column of `x` `(N, *features)`.

        With `missing`, a NaN stands for a value that is missing, and is left out.

        A column whose entries are all equal carries no scale: it is centred and divided by 1, so it becomes exactly 0
        in the data it was fitted to, and keeps its own units elsewhere.

        Raises:
            ValueError: `x` is empty, not floating point, or not finite.
        """
        if x.ndim < 2 or not len(x):
            raise ValueError(f"`x`: expected a matrix with at least one row, got the shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"`x`: expected floating-point columns, got {x.dtype}; convert with `x.float()`")
        if missing:
            return cls._of_known(_wide(x))
        if not x.isfinite().all():
            raise ValueError("`x`: expected finite entries, got NaN or infinity; impute or drop these rows first")
        x = _wide(x)
        constant = x.amax(0) == x.amin(0)
        mean = x.mean(0).where(~constant, x[0])
        scale = (x - mean).square().mean(0).sqrt()
        return cls(mean, scale.where(~constant & (scale > 0), scale.new_ones(())))

    @classmethod
    def _of_known(cls, x: Tensor) -> Standardizer:
        known = ~x.isnan()
        if bool(x.isinf().any()) or not bool(known.any(0).all()):
            raise ValueError("`x`: expected a known, finite entry in every column; drop the columns that have none")
        filled = x.nan_to_num(0.0)
        count = known.sum(0)
        constant = x.nan_to_num(-torch.inf).amax(0) == x.nan_to_num(torch.inf).amin(0)
        mean = torch.where(constant, x.nan_to_num(-torch.inf).amax(0), filled.sum(0) / count)
        scale = ((filled - mean).square() * known).sum(0).div(count).sqrt()
        return cls(mean, scale.where(~constant & (scale > 0), scale.new_ones(())))

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised `x`, `(N, *features)`."""
        wide = _wide(x)
        return ((wide - self.mean.to(wide)) / self.scale.to(wide)).to(x)

    def inverse(self, x: Tensor) -> Tensor:
        """Back to the original units, in the type of `x`, which may not hold them: pass float64 if in doubt."""
        wide = _wide(x)
        return (wide * self.scale.to(wide) + self.mean.to(wide)).to(x)


def _wide(x: Tensor) -> Tensor:
    """`x` in float64, on the CPU if its device knows no float64."""
    return x.cpu().double() if x.device.type == "mps" else x.double()
