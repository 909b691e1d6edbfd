"""The mixture of independent Poisson counts."""

from __future__ import annotations

__all__ = ["PoissonMixture"]

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from pyro.ops.indexing import Vindex
from torch import Tensor
from torch.distributions import constraints

from ..common.precision import wide
from ..common.takes_data import takes_data
from ..common.validation import check_positive
from ..distributions.count_masses import CountPoisson
from .count_base import CountMixture, CountMoments


class PoissonMixture(CountMixture):
    r"""Segments that differ in how often things happen.

    .. math::
        c_n \sim \mathrm{Categorical}(\pi), \quad x_{nd} \mid c_n = k \sim \mathrm{Poisson}(\lambda_{kd}), \qquad
        \log p(x_n) = \log \sum_k \pi_k \prod_d \frac{\lambda_{kd}^{x_{nd}} e^{-\lambda_{kd}}}{x_{nd}!}.

    ==================  ==============================  =========================================
    symbol              meaning                         argument, site or attribute
    ==================  ==============================  =========================================
    :math:`x`           counts, ``(N, D)``              ``x`` (drawn if None)
    :math:`w`           how often each row counts       ``weight``, ``(N,)`` (once if None)
    :math:`c`           assignment, ``(N,)``, local     site ``assignment``, enumerated
    :math:`\pi`         proportions, ``(C,)``           ``weights``
    :math:`\lambda`     expected counts, ``(C, D)``     ``rates``
    ==================  ==============================  =========================================

    How much happens in a row counts: two customers with the same tastes and different volumes are different. Where only
    the tastes should, use `MultinomialMixture`.

    Args:
        num_components: C.
        num_features: D.
        min_rate: floor under every rate, so that a thing never seen in a segment is not impossible there.

    Raises:
        ValueError: a size is not positive; `check_data` finds what is no count, or the wrong columns.

    Reference: D. Karlis and L. Meligkotsidou, *Finite Mixtures of Multivariate Poisson Distributions with Application*,
    2007, https://doi.org/10.1016/j.jspi.2006.07.001

    Example:
        >>> model = PoissonMixture(num_components=3, num_features=4)
        >>> x = model.generate(20, seed=0)["x"]
        >>> model.predict({"x": x}).shape
        torch.Size([20, 3])
    """

    rates: Any

    def __init__(self, num_components: int, num_features: int, min_rate: float = 1e-6) -> None:
        super().__init__(num_components, num_features)
        check_positive("min_rate", min_rate)
        self.min_rate = min_rate
        start = 1.0 + min_rate + torch.rand(num_components, num_features)
        self.rates = PyroParam(start, constraints.greater_than(min_rate))

    @takes_data(cast=False)
    def component(self, c: torch.LongTensor) -> TorchDistributionMixin:
        return CountPoisson(Vindex(self.rates)[c, :]).to_event(1)

    @takes_data(cast=False)
    def component_log_prob(self, x: Tensor) -> Tensor:
        x, rates = wide(x), wide(self.rates)
        return x @ rates.log().mT - rates.sum(-1) - (x + 1).lgamma().sum(-1, keepdim=True)

    @property
    def num_free_parameters(self) -> int:
        return self.num_components * (self.num_features + 1) - 1

    @torch.no_grad()
    def set_components(self, moments: CountMoments) -> None:
        rows = moments.rows.unsqueeze(-1)
        rates = moments.counts / rows.clamp_min(torch.finfo(rows.dtype).tiny)
        rates = torch.where(rows > 0, rates, self.rates).clamp_min(self.min_rate * 1.001)
        self.rates = rates.to(self.rates.dtype)

    @takes_data(cast=False)
    def clustering_features(self, x: Tensor) -> Tensor:
        """Square roots, which have nearly equal variances."""
        return x.sqrt()
