"""The Gaussian mixture with maximum-likelihood parameters; its discrete assignments are summed out."""

from __future__ import annotations

__all__ = ["GaussianMixture"]

from collections.abc import Mapping

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from ..common.column_spread import column_spread, or_one
from ..common.covariance import COVARIANCES
from ..common.inputs import to_tensors
from ..common.kmeans import kmeans
from ..common.row_weights import check_weight, counted, weights_in
from ..common.takes_data import takes_data
from ..common.validation import check_choice, check_features, check_positive
from .base import Mixture
from .gaussian_components import GaussianComponents
from .gaussian_em import Moments, expected_statistics, log_densities


class GaussianMixture(GaussianComponents, Mixture):
    r"""Clusters of Gaussian shape.

    .. math::
        c_n \sim \mathrm{Categorical}(\pi), \quad x_n \mid c_n = k \sim \mathcal N(\mu_k, \Sigma_k), \qquad
        \log p(x_n) = \log \sum_k \pi_k \, \mathcal N(x_n; \mu_k, \Sigma_k).

    ================  ===============================  ===================================================
    symbol            meaning                          argument, site or attribute
    ================  ===============================  ===================================================
    :math:`x`         data, ``(N, D)``                 ``x`` (drawn if None)
    :math:`w`         how often each row counts        ``weight``, ``(N,)`` (once if None)
    :math:`c`         assignment, ``(N,)``, local      site ``assignment``, enumerated
    :math:`\pi`       proportions, ``(C,)``            ``weights``
    :math:`\mu`       means, ``(C, D)``                ``means``
    :math:`\Sigma`    covariances, ``(C, D, D)``       ``covariance``; parameters ``scale_tril``: ``(C, D, D)``
                                                       full, ``(D, D)`` tied; ``scale``: ``(C, D)`` diagonal,
                                                       ``(C,)`` spherical
    ================  ===============================  ===================================================

    The guide is empty: the assignment is marginalised exactly, so the bound of `TraceEnum_ELBO` is the likelihood. `EM`
    maximises it in closed form.

    Args:
        num_components: C.
        num_features: D.
        covariance: ``"full"``, ``"tied"`` (one for all), ``"diagonal"`` or ``"spherical"``; kept as `covariance_type`.
        min_scale: floor under every standard deviation, as a fraction of the column's spread in all the data that are
            fitted: no component can shrink onto one datum, and a constant column, which keeps its units, does no harm.
            EM has it in every direction, SVI under the Cholesky diagonal. Raise it where components chase single rows.

    Raises:
        ValueError: a size is not positive, `covariance` is unknown; `check_data` finds the wrong columns or fewer rows
            than components.

    Reference: C. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 9.2.

    Example:
        >>> model = GaussianMixture(num_components=3, num_features=2)
        >>> x = model.generate(10, seed=0)["x"]
        >>> model.predict({"x": x}).shape
        torch.Size([10, 3])
    """

    def __init__(
        self, num_components: int, num_features: int, covariance: str = "full", min_scale: float = 1e-6
    ) -> None:
        super().__init__(num_components, num_features)
        check_positive("min_scale", min_scale)
        check_choice("covariance", covariance, COVARIANCES)
        self.covariance_type, self.min_scale = covariance, min_scale
        self._add_components(num_components, num_features)

    @takes_data(cast=False)
    def component(self, c: torch.LongTensor) -> TorchDistributionMixin:
        """The density of `x` given component(s) `c`, of any batch shape."""
        return self._kind.normal(c, self.means, self._root)

    def check_data(self, x: Tensor | None = None, weight: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            check_features("x", x, self.num_features)
        check_weight(weight)

    @takes_data(cast=False)
    def component_log_prob(self, x: Tensor) -> Tensor:
        return log_densities(x, self.means.to(x.dtype), self._scales.to(x.dtype))

    def e_step(self, data: Mapping[str, Tensor]) -> tuple[Moments, Tensor]:
        """The components' expected moments, and the log likelihood of all the data, ``()``, with their weights."""
        x, times = to_tensors(data, self.means, self.check_data)["x"], weights_in(data, self.means)
        return expected_statistics(x, self.weights, self.means, self._scales, times)

    @torch.no_grad()
    def m_step(self, statistics: Moments) -> None:
        """Set proportions, means and covariances to the maximiser. An empty component stays where it is."""
        self.weights = self._maximise_components(statistics)

    @torch.no_grad()
    def prepare(self, batch: Mapping[str, Tensor]) -> None:
        """Take the floor from the data."""
        self._follow_data(counted(batch)["x"])

    @property
    def num_free_parameters(self) -> int:
        """Proportions but for one, means and covariances."""
        return self.num_components - 1 + self._num_free_in_components

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start at a k-means clustering of the data in units of their spread, with each cluster's covariance."""
        self.prepare(batch)
        x = counted(batch)["x"]
        unit = or_one(self._kind.unit(column_spread(x)))
        centres, rows, cluster = kmeans(x, self.num_components, seed, unit=unit)
        counts = torch.bincount(cluster, minlength=self.num_components).to(rows.dtype) + 1
        self.weights = (counts / counts.sum()).to(self.weights.dtype)
        self._start_components(centres, rows, cluster, unit)
