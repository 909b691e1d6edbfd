"""The Gaussian mixture with maximum-likelihood parameters; its discrete assignments are summed out."""

from __future__ import annotations

__all__ = ["GaussianMixture"]

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from pyro.ops.indexing import Vindex
from torch import Tensor, nn

from ..common.column_spread import column_spread, or_one
from ..common.constraints import FlooredCholesky
from ..common.covariances import from_scale, precision_from_scale
from ..common.floors import AboveFloor, Floored, follow
from ..common.inputs import to_tensors
from ..common.kmeans import kmeans
from ..common.precision import wide
from ..common.row_weights import check_weight, counted, weights_in
from ..common.takes_data import takes_data
from ..common.validation import check_choice, check_features, check_positive
from .base import Mixture
from .gaussian_em import Moments, expected_statistics, floored, log_densities, maximise, total_variance

_COVARIANCES = ("full", "tied", "diagonal", "spherical")


class GaussianMixture(Floored, Mixture):
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

    scale_tril: Any  # PyroParams, which read as their constrained values
    scale: Any
    floor: Tensor  # under the standard deviations, in the units of the data: (D,), or () if spherical

    def __init__(
        self, num_components: int, num_features: int, covariance: str = "full", min_scale: float = 1e-6
    ) -> None:
        super().__init__(num_components, num_features)
        check_positive("min_scale", min_scale)
        check_choice("covariance", covariance, _COVARIANCES)
        self.covariance_type, self.min_scale = covariance, min_scale
        self.means = nn.Parameter(torch.randn(num_components, num_features))
        self.register_buffer("floor", torch.full(() if covariance == "spherical" else (num_features,), min_scale))
        if covariance in ("full", "tied"):
            start = (1.0 + min_scale) * torch.eye(num_features)
            if covariance == "full":
                start = start.repeat(num_components, 1, 1)
            self.scale_tril = PyroParam(start, FlooredCholesky(self))
        else:
            shape = (num_components, num_features) if covariance == "diagonal" else (num_components,)
            self.scale = PyroParam(torch.full(shape, 1.0 + min_scale), AboveFloor(self))

    @takes_data(cast=False)
    def component(self, c: torch.LongTensor) -> TorchDistributionMixin:
        """The density of `x` given component(s) `c`, of any batch shape."""
        means = Vindex(self.means)[c, :]
        if self.covariance_type == "full":
            return dist.MultivariateNormal(means, scale_tril=Vindex(self.scale_tril)[c, :, :])
        if self.covariance_type == "tied":
            return dist.MultivariateNormal(means, scale_tril=self.scale_tril)
        if self.covariance_type == "diagonal":
            return dist.Normal(means, Vindex(self.scale)[c, :]).to_event(1)
        return dist.Normal(means, self.scale[c].unsqueeze(-1)).to_event(1)

    def check_data(self, x: Tensor | None = None, weight: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            check_features("x", x, self.num_features)
        check_weight(weight)

    @takes_data(cast=False)
    def component_log_prob(self, x: Tensor) -> Tensor:
        return log_densities(x, self.means.to(x.dtype), self._scales().to(x.dtype))

    def e_step(self, data: Mapping[str, Tensor]) -> tuple[Moments, Tensor]:
        """The components' expected moments, and the log likelihood of all the data, ``()``, with their weights."""
        x, times = to_tensors(data, self.means, self.check_data)["x"], weights_in(data, self.means)
        return expected_statistics(x, self.weights, self.means, self._scales(), times)

    @torch.no_grad()
    def m_step(self, statistics: Moments) -> None:
        """Set proportions, means and covariances to the maximiser. An empty component stays where it is."""
        weights, means, covariance = maximise(statistics, self.means, self._scales())
        self.weights = weights
        self.means.copy_(means)
        if self.covariance_type in ("full", "tied"):
            shared = covariance if self.covariance_type == "full" else (weights[:, None, None] * covariance).sum(0)
            floor = 1.01 * self.floor
            self.scale_tril = floored(shared, floor, total_variance(weights, means, covariance, floor))
        else:
            variance = covariance if self.covariance_type == "diagonal" else covariance.mean(-1)
            self.scale = variance.clamp_min((1.01 * self.floor) ** 2).sqrt()

    @torch.no_grad()
    def prepare(self, batch: Mapping[str, Tensor]) -> None:
        """Take the floor from the data: `min_scale` of each column's spread, or of that of all, if spherical."""
        x = counted(batch)["x"]
        follow(self, x, self._spread(x))

    def _spread(self, x: Tensor) -> Tensor:
        spread = column_spread(x)
        return spread.square().mean().sqrt() if self.covariance_type == "spherical" else spread

    def _scales(self) -> Tensor:
        """Each component's Cholesky factor ``(C, D, D)``, or standard deviations ``(C, D)``."""
        if self.covariance_type == "full":
            return self.scale_tril  # type: ignore[no-any-return]
        if self.covariance_type == "tied":
            return self.scale_tril.expand(self.num_components, -1, -1)  # type: ignore[no-any-return]
        return self.scale.reshape(self.num_components, -1).expand_as(self.means)  # type: ignore[no-any-return]

    @property
    def covariance(self) -> Tensor:
        r""":math:`\Sigma_k`, ``(C, D, D)`` whatever the `covariance_type`."""
        return from_scale(self._scales())

    @property
    def precision(self) -> Tensor:
        r""":math:`\Sigma_k^{-1}`, ``(C, D, D)`` whatever the `covariance_type`."""
        return precision_from_scale(self._scales())

    @property
    def num_free_parameters(self) -> int:
        features, components = self.num_features, self.num_components
        triangle = features * (features + 1) // 2
        shapes = {"full": components * triangle, "tied": triangle, "diagonal": components * features}
        return components - 1 + components * features + shapes.get(self.covariance_type, components)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start at a k-means clustering of the data in units of their spread, with each cluster's covariance."""
        self.prepare(batch)
        x = counted(batch)["x"]
        unit = or_one(self._spread(x))
        centres, rows, cluster = kmeans(x, self.num_components, seed, unit=unit)
        counts = torch.bincount(cluster, minlength=self.num_components).to(rows.dtype)
        self.means.copy_(centres)
        self.weights = ((counts + 1) / (counts + 1).sum()).to(self.weights.dtype)
        residual = rows - centres[cluster]
        # Deviations around the centres, pooled; then each cluster's own, shrunk to the pooled by D + 1 pseudo-rows.
        floor = (1.01 * wide(self.floor)) ** 2
        pooled = residual.square().mean(0).clamp_min(1e-2 * wide(unit) ** 2).clamp_min(floor)
        prior_rows = self.num_features + 1
        total = (counts + prior_rows)[:, None]
        if self.covariance_type in ("diagonal", "spherical"):
            squares = torch.zeros_like(centres).index_add_(0, cluster, residual.square())
            variance = ((squares + prior_rows * pooled) / total).clamp_min(floor)
            variance = variance if self.covariance_type == "diagonal" else variance.mean(1)
            self.scale = variance.sqrt().to(self.means.dtype)
            return
        outer = torch.stack([residual[cluster == k].mT @ residual[cluster == k] for k in range(self.num_components)])
        if self.covariance_type == "tied":
            scatter = (outer.sum(0) + prior_rows * torch.diag(pooled)) / (len(rows) + prior_rows)
        else:
            scatter = (outer + prior_rows * torch.diag(pooled)) / total[:, :, None]
        self.scale_tril = floored(scatter, 1.01 * wide(self.floor)).to(self.means.dtype)
