"""What mixtures of counts share: the check of the data, the E step, and the start."""

from __future__ import annotations

__all__ = ["CountMixture", "CountMoments"]

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..common.inputs import to_tensors
from ..common.kmeans import kmeans
from ..common.precision import wide
from ..common.row_weights import check_weight, counted, weights_in
from ..common.validation import check_features
from .base import Mixture


@dataclass(frozen=True)
class CountMoments:
    r"""Expected sufficient statistics: :math:`\sum_n r_{nk}`, ``(C,)``, and :math:`\sum_n r_{nk} x_n`, ``(C, D)``."""

    rows: Tensor
    counts: Tensor


class CountMixture(Mixture):
    """A mixture whose components are independent given the assignment, and linear in the counts. Abstract.

    Subclasses give a component's distribution, its log density for all data at once, and its M step.
    """

    sparse_allowed: ClassVar[tuple[str, ...]] = ("x",)

    @abc.abstractmethod
    def set_components(self, moments: CountMoments) -> None:
        """Set the components' parameters to their maximiser; one without rows keeps its own."""

    def check_data(self, x: Tensor | None = None, weight: Tensor | None = None) -> None:  # type: ignore[override]
        check_weight(weight)
        if x is None:
            return
        check_features("x", x, self.num_features)
        bad = (x < 0) | (x != x.round())
        if bad.any():
            row, column = bad.nonzero()[0].tolist()
            raise ValueError(
                f"`x` must hold counts (whole numbers, 0 or more), got {x[row, column].item():g} in row {row}, column "
                f"{column}. Use `GaussianMixture` for measurements."
            )

    def e_step(self, data: Mapping[str, Tensor]) -> tuple[CountMoments, Tensor]:
        """Expected rows and counts of each component, and the log likelihood of all the data, ``()``, in float64."""
        # not `check_data`, which reads every number, at every step of a fit
        x = to_tensors(data, wide(self.weights), lambda x: check_features("x", x, self.num_features))["x"]
        joint = self._joint(x)
        evidence = joint.logsumexp(-1, keepdim=True)
        share, times = (joint - evidence).exp(), weights_in(data, joint)
        if times is not None:
            share, evidence = share * times.unsqueeze(-1), evidence.squeeze(-1) * times
        return CountMoments(share.sum(0), share.mT @ x), evidence.sum()

    @torch.no_grad()
    def m_step(self, statistics: CountMoments) -> None:
        """Set proportions and components to the maximiser."""
        least = torch.finfo(statistics.rows.dtype).eps * statistics.rows.sum().clamp_max(1.0)
        rows = statistics.rows.clamp_min(least)
        self.weights = (rows / rows.sum()).to(self.weights.dtype)
        self.set_components(statistics)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start at a k-means clustering of :meth:`clustering_features`, shrunk towards all rows by one pseudo-row."""
        x = wide(counted(batch)["x"])
        centres, _, _ = kmeans(self.clustering_features(x), self.num_components, seed)
        nearest = torch.cdist(self.clustering_features(x), centres).argmin(1)
        share = torch.nn.functional.one_hot(nearest, self.num_components).to(x.dtype)
        rows = share.sum(0)
        self.m_step(CountMoments(rows + 1, share.mT @ x + x.mean(0)))

    @abc.abstractmethod
    def clustering_features(self, x: Tensor) -> Tensor:
        """`x` where Euclidean distance makes sense, for the start."""
