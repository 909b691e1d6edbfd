"""A Gaussian pushed through a bijection, in the direction that is cheap for drawing or in the one cheap for scoring."""

from __future__ import annotations

__all__ = ["FlowDistribution", "InvertedFlowDistribution"]

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Normal, constraints


class FlowDistribution(TorchDistribution):
    r"""The distribution of :math:`z = f(z_0)`, :math:`z_0 \sim \mathcal N(\mu, \operatorname{diag} \sigma^2)`.

    .. math:: \log q(z) = \log \mathcal N(z_0; \mu, \sigma^2) - \log |\det f'(z_0)|

    The log determinant comes with the draw and is kept for its `log_prob`, so f is inverted only to score a value that
    was not drawn here.

    Args:
        transform: f, with ``call_and_ladj(z0) -> (z, log |det|)`` and, to score other values, ``inv``.
        loc, scale: :math:`\mu, \sigma`, each ``(..., L)``.

    Attributes:
        centre: :math:`f(\mu)`, ``(..., L)``: a point in the middle of the law, in general not its mean.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # torch's own interface
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, transform: Any, loc: Tensor, scale: Tensor) -> None:
        self.transform, self.loc, self.scale = transform, loc, scale
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> FlowDistribution:
        shape = (*batch_shape, *self.event_shape)
        return type(self)(self.transform, self.loc.expand(shape), self.scale.expand(shape))

    @property
    def centre(self) -> Tensor:
        return self.transform.call_and_ladj(self.loc)[0]

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw ``(*sample_shape, ..., L)`` with its pathwise gradient."""
        return self.carry(torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device))

    def carry(self, noise: Tensor) -> Tensor:
        """The draw that standard normal noise ``(*sample_shape, ..., L)`` becomes."""
        start = self.loc + self.scale * noise
        value, log_det = self.transform.call_and_ladj(start)
        self._drawn = value, self._base(start) - log_det
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of ``(..., L)``; a value that was not drawn here is first mapped back."""
        if self._drawn is not None and value is self._drawn[0]:
            return self._drawn[1]
        start = self.transform.inv(value)
        return self._base(start) - self.transform.call_and_ladj(start)[1]

    def _base(self, start: Tensor) -> Tensor:
        return Normal(self.loc, self.scale, validate_args=False).log_prob(start).sum(-1)


class InvertedFlowDistribution(FlowDistribution):
    r"""The distribution of :math:`z = f^{-1}(z_0)`, same f: one evaluation of f scores any z, drawing inverts it.

    .. math:: \log p(z) = \log \mathcal N(f(z); \mu, \sigma^2) + \log |\det f'(z)|
    """

    @property
    def centre(self) -> Tensor:
        return self.transform.inv(self.loc)

    def carry(self, noise: Tensor) -> Tensor:
        """The draw that standard normal noise ``(*sample_shape, ..., L)`` becomes."""
        return self.transform.inv(self.loc + self.scale * noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of ``(..., L)``."""
        start, log_det = self.transform.call_and_ladj(value)
        return self._base(start) + log_det
