"""What mixtures of counts share: proportions, exact evidence and posterior, and the E step."""

from __future__ import annotations

__all__ = ["CountMixture", "CountMoments"]

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from .base import LatentVariableModel
from .checks import check_features, check_positive
from .clustering import kmeans


@dataclass(frozen=True)
class CountMoments:
    r"""Expected sufficient statistics: :math:`\sum_n r_{nk}`, ``(C,)``, and :math:`\sum_n r_{nk} x_n`, ``(C, D)``."""

    rows: Tensor
    counts: Tensor


class CountMixture(LatentVariableModel, abc.ABC):
    """A mixture whose components are independent given the assignment, and linear in the counts. Abstract.

    Subclasses give a component's distribution, its log density for all data at once, and its M step.
    """

    weights: Any

    def __init__(self, num_components: int, num_features: int) -> None:
        super().__init__()
        check_positive("num_components", num_components)
        check_positive("num_features", num_features)
        self.num_components, self.num_features = num_components, num_features
        self.weights = PyroParam(torch.full((num_components,), 1.0 / num_components), constraints.simplex)

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(c)
            c = pyro.sample("assignment", dist.Categorical(self.weights), infer={"enumerate": "parallel"})
            # p(x | c)
            return pyro.sample("x", self.component(c), obs=x)

    def guide(self, x: Tensor | None = None) -> None:
        """Nothing to sample: the assignment is summed out."""

    @abc.abstractmethod
    def component(self, c: Tensor) -> TorchDistributionMixin:
        """The distribution of `x` given component(s) `c`, of any batch shape."""

    @abc.abstractmethod
    def component_log_prob(self, x: Tensor) -> Tensor:
        r""":math:`\log p(x_n \mid c_n = k)`, ``(N, C)``."""

    @abc.abstractmethod
    def set_components(self, moments: CountMoments) -> None:
        """Set the components' parameters to their maximiser; one without rows keeps its own."""

    def check_data(self, x: Tensor | None = None) -> None:  # type: ignore[override]
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

    def log_joint(self, data: Mapping[str, Tensor]) -> Tensor:
        r""":math:`\log \pi_k + \log p(x_n \mid k)`, ``(N, C)``."""
        return self.weights.log() + self.component_log_prob(data["x"])  # type: ignore[no-any-return]

    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Exact :math:`\log p(x_n)` in nats, ``(N,)``."""
        return self.log_joint(data).logsumexp(-1)

    def exact_posterior(self, data: Mapping[str, Tensor]) -> dict[str, torch.distributions.Distribution]:
        r"""Exact :math:`p(c_n \mid x_n)`, batch shape ``(N,)``."""
        return {"assignment": torch.distributions.Categorical(logits=self.log_joint(data))}

    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Responsibilities :math:`p(c_n = k \mid x_n)`, ``(N, C)``; their `argmax(-1)` is the hard label."""
        return self.log_joint(data).softmax(-1)

    def e_step(self, data: Mapping[str, Tensor]) -> tuple[CountMoments, Tensor]:
        """Expected rows and counts of each component, and the log likelihood of all the data, ``()``."""
        joint = self.log_joint(data)
        evidence = joint.logsumexp(-1, keepdim=True)
        share = (joint - evidence).exp()
        return CountMoments(share.sum(0), share.mT @ data["x"]), evidence.sum()

    @torch.no_grad()
    def m_step(self, statistics: CountMoments) -> None:
        """Set proportions and components to the maximiser."""
        rows = statistics.rows.clamp_min(torch.finfo(statistics.rows.dtype).eps)
        self.weights = rows / rows.sum()
        self.set_components(statistics)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start at a k-means clustering of :meth:`coordinates`, shrunk towards all rows by one pseudo-row."""
        x = batch["x"].to(self.weights.dtype)
        centres, _, _ = kmeans(self.coordinates(x), self.num_components, seed)
        nearest = torch.cdist(self.coordinates(x), centres).argmin(1)
        share = torch.nn.functional.one_hot(nearest, self.num_components).to(x.dtype)
        rows = share.sum(0)
        self.m_step(CountMoments(rows + 1, share.mT @ x + x.mean(0)))

    @abc.abstractmethod
    def coordinates(self, x: Tensor) -> Tensor:
        """`x` where Euclidean distance makes sense, for the start."""
