"""The mixture of multinomial counts: segments that differ in proportions, whatever the volume."""

from __future__ import annotations

__all__ = ["MultinomialMixture"]

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from pyro.ops.indexing import Vindex
from torch import Tensor
from torch.distributions import constraints

from ..common.precision import wide
from ..common.takes_data import takes_data
from ..common.validation import check_positive, check_size
from ..distributions.count_masses import log_multinomial_coefficient
from ..distributions.row_multinomial import RowMultinomial
from .count_base import CountMixture, CountMoments


class MultinomialMixture(CountMixture):
    r"""Segments that differ in how a row's total is shared out.

    .. math::
        c_n \sim \mathrm{Categorical}(\pi), \quad x_n \mid c_n = k \sim \mathrm{Multinomial}(T_n, \theta_k), \qquad
        \log p(x_n) = \log \sum_k \pi_k \frac{T_n!}{\prod_d x_{nd}!} \prod_d \theta_{kd}^{x_{nd}}.

    ==================  ==============================  =========================================
    symbol              meaning                         argument, site or attribute
    ==================  ==============================  =========================================
    :math:`x`           counts, ``(N, D)``              ``x`` (drawn if None)
    :math:`w`           how often each row counts       ``weight``, ``(N,)`` (once if None)
    :math:`T`           a row's total                   the row's own; ``total_count`` where drawn
    :math:`c`           assignment, ``(N,)``, local     site ``assignment``, enumerated
    :math:`\pi`         proportions, ``(C,)``           ``weights``
    :math:`\theta`      shares, ``(C, D)``              ``probs``
    ==================  ==============================  =========================================

    The totals are taken as given: a row of zeros says nothing, and is allowed.

    Args:
        num_components: C.
        num_features: D.
        total_count: the total of each row that is drawn.
        min_prob: floor under every share, so that a thing never seen in a segment is not impossible there.

    Raises:
        ValueError: a size is not positive; `check_data` finds what is no count, or the wrong columns.

    Reference: K. Nigam et al., *Text Classification from Labeled and Unlabeled Documents using EM*, 2000,
    https://doi.org/10.1023/A:1007692713085

    Example:
        >>> model = MultinomialMixture(num_components=3, num_features=4, total_count=10)
        >>> model.generate(5, seed=0)["x"].sum(-1)
        tensor([10., 10., 10., 10., 10.])
    """

    probs: Any

    def __init__(self, num_components: int, num_features: int, total_count: int = 100, min_prob: float = 1e-10) -> None:
        super().__init__(num_components, num_features)
        check_size("total_count", total_count)
        check_positive("min_prob", min_prob)
        self.total_count, self.min_prob = total_count, min_prob
        start = 1.0 + torch.rand(num_components, num_features)
        self.probs = PyroParam(start / start.sum(-1, keepdim=True), constraints.simplex)

    @takes_data(cast=False)
    def component(self, c: torch.LongTensor) -> TorchDistributionMixin:
        return RowMultinomial(self.total_count, Vindex(self.probs)[c, :])

    @takes_data(cast=False)
    def component_log_prob(self, x: Tensor) -> Tensor:
        probs = wide(self.probs)
        probs = probs / probs.sum(-1, keepdim=True)  # a simplex of float32 is short of one by a rounding, T times
        return wide(x) @ probs.log().mT + log_multinomial_coefficient(x).unsqueeze(-1)

    @property
    def num_free_parameters(self) -> int:
        return self.num_components * self.num_features - 1

    @torch.no_grad()
    def set_components(self, moments: CountMoments) -> None:
        totals = moments.counts.sum(-1, keepdim=True)
        shares = moments.counts / totals.clamp_min(torch.finfo(totals.dtype).tiny)
        shares = torch.where(totals > 0, shares, self.probs).clamp_min(self.min_prob)
        self.probs = (shares / shares.sum(-1, keepdim=True)).to(self.probs.dtype)

    @takes_data(cast=False)
    def clustering_features(self, x: Tensor) -> Tensor:
        """Square roots of the shares: Hellinger's distance."""
        return (x / x.sum(-1, keepdim=True).clamp_min(1.0)).sqrt()
