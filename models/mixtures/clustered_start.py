"""Where default guides and samplers of the Bayesian Gaussian mixture start: each component at a cluster of the data."""

from __future__ import annotations

__all__ = ["ClusteredStart"]

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.transforms import AffineTransform, IndependentTransform, Transform

from ..distributions.normal_wishart import NormalWishart
from ..distributions.recentred import Recentred
from ..distributions.wishart import TriangularProduct


class ClusteredStart(nn.Module):
    """A model whose means and precisions have the origin of their unconstrained space at a start that it keeps."""

    covariance_type: str
    start_means: Tensor
    start_spread: Tensor
    start_precision: Tensor

    def _add_start(self, prior: NormalWishart) -> None:
        """Build the buffers, with the start at the prior."""
        self.register_buffer("start_means", prior.means.clone())
        self.register_buffer("start_spread", prior.scale_of_means())
        self.register_buffer("start_precision", prior.expected_precision().clone())

    @torch.no_grad()
    def _start_at(self, prior: NormalWishart, factor: NormalWishart) -> None:
        """Move the start to the middle of `factor`, in units of the prior."""
        self.start_means.copy_(factor.means)
        self.start_spread.copy_(prior.scale_of_means())
        self.start_precision.copy_(factor.expected_precision())

    def _precision_from(self, prior: NormalWishart) -> Recentred:
        """The prior of the precisions."""
        return Recentred(prior.precision_distribution(), self._precision_bijection)

    def _means_from(self, prior: NormalWishart, precision: Tensor) -> Recentred:
        """The prior of the means given the precisions."""
        return Recentred(prior.means_distribution(precision), self._means_bijection)

    def _means_bijection(self) -> Transform:
        return AffineTransform(self.start_means, self.start_spread, event_dim=2)

    def _precision_bijection(self) -> Transform:
        if self.covariance_type not in ("full", "tied"):
            return AffineTransform(0.0, self.start_precision, event_dim=self.start_precision.dim())
        product: Any = TriangularProduct(self.start_precision)
        return product if self.covariance_type == "tied" else IndependentTransform(product, 1)
