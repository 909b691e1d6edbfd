r"""A normal that scores its own draws by the noise that they were made of.

Of :math:`z = \mu + L \epsilon` the density takes :math:`L^{-1} (z - \mu)`. Where a standard deviation is small beside
its mean, that difference has lost most of its digits, and solving with an ill-conditioned L loses the rest: in float32
:math:`\log q(z)` is then off by tens of nats. The noise itself is still at hand:

.. math:: \log q(z) = -\tfrac{D}{2} \log 2\pi - \tfrac12 \epsilon^\top \epsilon - \sum_i \log L_{ii}

whose gradient is the total derivative of the density of a draw: the paths through z and through the parameters cancel.
"""

from __future__ import annotations

__all__ = ["MultivariateNormal"]

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor


class MultivariateNormal(dist.MultivariateNormal):
    """Pyro's distribution of that name; see above for how it scores the latest draw of this very object."""

    _drawn: tuple[Tensor, Tensor] | None = None

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008  (an empty tuple, as in torch)
        shape = self._extended_shape(sample_shape)
        noise = torch.normal(self.loc.new_zeros(shape), self.loc.new_ones(shape))
        value = self.loc + (self._unbroadcasted_scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        self._drawn = (value, noise)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        if self._drawn is None or value is not self._drawn[0]:
            return super().log_prob(value)
        noise = self._drawn[1]
        log_det = self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * (math.log(2 * math.pi) + noise.square()).sum(-1) - log_det
