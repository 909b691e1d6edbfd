"""Means and covariances of Gaussian components as parameters of a model: their floor, their M step and their start."""

from __future__ import annotations

__all__ = ["GaussianComponents"]

from typing import Any

import torch
from pyro.nn import PyroParam
from torch import Tensor, nn

from ..common.column_spread import column_spread
from ..common.covariance import Covariance, from_scale, precision_from_scale
from ..common.floors import Floored, follow
from ..common.precision import wide
from .gaussian_em import Moments, maximise


class GaussianComponents(Floored):
    r"""A model of C components :math:`\mathcal N(\mu_k, \Sigma_k)`, with a floor under their standard deviations."""

    means: Tensor
    scale_tril: Any  # PyroParams, which read as their constrained values; a model has the one of its kind
    scale: Any
    floor: Tensor  # under the standard deviations, in the units of the data: (D,), or () if spherical
    covariance_type: str
    min_scale: float

    # Of a model that leaves `_add_components` out (states that emit codes) nothing here has a value.

    def _add_components(self, num_components: int, num_features: int) -> None:
        """Build the parameters, once `covariance_type` and `min_scale` are set."""
        self.means = nn.Parameter(torch.randn(num_components, num_features))
        self.register_buffer("floor", torch.full_like(self._kind.unit(torch.ones(num_features)), self.min_scale))
        parameter = PyroParam(self._kind.isotropic(1.0 + self.min_scale), self._kind.constraint(self))
        setattr(self, self._kind.parameter, parameter)

    @property
    def _kind(self) -> Covariance:
        return Covariance(self.covariance_type, *self.means.shape)

    @property
    def _root(self) -> Tensor:
        """The parameter that holds the covariances."""
        return getattr(self, self._kind.parameter)  # type: ignore[no-any-return]

    @property
    def _scales(self) -> Tensor:
        """Each component's Cholesky factor ``(C, D, D)``, or standard deviations ``(C, D)``."""
        kind = self._kind
        return kind.scales(getattr(self, kind.parameter))

    @property
    def covariance(self) -> Tensor:
        r""":math:`\Sigma_k`, ``(C, D, D)`` whatever the `covariance_type`."""
        return from_scale(self._scales)

    @property
    def precision(self) -> Tensor:
        r""":math:`\Sigma_k^{-1}`, ``(C, D, D)`` whatever the `covariance_type`."""
        return precision_from_scale(self._scales)

    @property
    def _num_free_in_components(self) -> int:
        """How many numbers of means and covariances the likelihood may choose."""
        return self.means.numel() + self._kind.num_free_parameters

    def _follow_data(self, x: Tensor) -> None:
        """Take the floor from rows of data: `min_scale` of each column's spread, or of that of all, if spherical."""
        follow(self, x, self._kind.unit(column_spread(x)))

    @torch.no_grad()
    def _maximise_components(self, moments: Moments) -> Tensor:
        """Set means and covariances to the maximiser; return the proportions ``(C,)``."""
        kind, present = self._kind, self.means
        weights, means, covariance = maximise(moments, present, kind.scales(getattr(self, kind.parameter)))
        setattr(self, kind.parameter, kind.maximiser(weights, means, covariance, 1.01 * self.floor))
        present.copy_(means)
        return weights

    @torch.no_grad()
    def _start_components(self, centres: Tensor, rows: Tensor, cluster: Tensor, unit: Tensor) -> None:
        """Start at clusters: their centres ``(C, D)``, the rows ``(N, D)`` that were clustered, the cluster of each
        ``(N,)``, and the unit of the columns' distances."""
        self.means.copy_(centres)
        residual = rows - centres[cluster]
        parameter = self._kind.clustered(residual, cluster, wide(unit), 1.01 * wide(self.floor))
        setattr(self, self._kind.parameter, parameter.to(self.means.dtype))
