"""A normal wrapped around the circle: the mean-field factor of a latent that is an angle."""

from __future__ import annotations

__all__ = ["WrappedNormal"]

import math
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints
from torch.distributions.utils import broadcast_all

from ..pair.supports.circle import wrapped

_TURNS = 5  # on each side; all that a scale of at most `_WIDEST` reaches
_WIDEST = 4.5  # radians: wider than this, a wrapped normal is uniform to 4e-5


class WrappedNormal(TorchDistribution):
    r""":math:`q(\theta) = \sum_k \mathcal N(\theta + 2 \pi k; \mu, \sigma^2)` on :math:`[-\pi, \pi)`.

    The draw :math:`\mu + \sigma \epsilon`, wrapped, carries its pathwise gradient.

    Args:
        loc: the mean direction, radians.
        scale: of the normal before it is wrapped, radians; where it is above 4.5 it counts as 4.5, for the distribution
            is uniform then.

    Reference: Statistics of Directional Data (Mardia, 1972).

    Example:
        >>> q = WrappedNormal(torch.tensor(3.0), torch.tensor(0.5))
        >>> grid = torch.linspace(-math.pi, math.pi, 2_001)
        >>> round(float(torch.trapezoid(q.log_prob(grid).exp(), grid)), 5)
        1.0
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.interval(-math.pi, math.pi)
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> WrappedNormal:
        return WrappedNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)

    @property
    def _line(self) -> Normal:
        return Normal(self.loc, self.scale.clamp(max=_WIDEST), validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return wrapped(self._line.rsample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        line = self._line
        near = line.loc + wrapped(value - line.loc)  # the image of the value that is nearest to the mean
        turns = torch.arange(-_TURNS, _TURNS + 1, dtype=near.dtype, device=near.device)
        images = near.unsqueeze(-1) + 2 * math.pi * turns
        return torch.logsumexp(Normal(line.loc.unsqueeze(-1), line.scale.unsqueeze(-1), False).log_prob(images), -1)
