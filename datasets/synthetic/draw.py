"""What the generators share: their own random stream, and checks of their sizes."""

from __future__ import annotations

__all__ = ["Draw", "check_positive"]

import torch
from torch import Tensor


class Draw:
    """Random tensors from one seeded stream, drawn in float64 on the CPU, so that every dtype sees the same numbers."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal entries of this shape."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def bernoulli(self, probs: Tensor) -> Tensor:
        """0 or 1 with P(1) = `probs`, entry by entry."""
        return torch.bernoulli(probs, generator=self.generator)

    def poisson(self, rate: Tensor) -> Tensor:
        """Counts with mean `rate`, entry by entry."""
        return torch.poisson(rate, generator=self.generator)

    def categorical(self, probs: Tensor, num: int) -> Tensor:
        """`(num,)` int64 labels with these probabilities `(C,)`."""
        return torch.multinomial(probs, num, replacement=True, generator=self.generator)

    def simplex(self, num: int, size: int, concentration: float) -> Tensor:
        """`(num, size)` rows from a symmetric Dirichlet."""
        alpha = torch.full((num, size), concentration, dtype=torch.float64)
        gamma = torch._standard_gamma(alpha, generator=self.generator).clamp_min(1e-300)
        return gamma / gamma.sum(-1, keepdim=True)


def check_positive(**sizes: float) -> None:
    """Every argument positive.

    Raises:
        ValueError: names the first that is not.
    """
    for name, size in sizes.items():
        if size <= 0:
            raise ValueError(f"`{name}`: expected a positive number, got {size}")
