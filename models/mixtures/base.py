"""What mixtures with parameters have in common: the joint of datum and assignment, and what follows from it."""

from __future__ import annotations

__all__ = ["Mixture"]

import abc
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroParam
from torch import Tensor
from torch.distributions import constraints

from ..base import LatentVariableModel
from ..common.information_criteria import InformationCriteria
from ..common.inputs import to_tensors
from ..common.precision import wide
from ..common.validation import check_size


class Mixture(InformationCriteria, LatentVariableModel, abc.ABC):
    r"""A mixture of C components whose proportions are parameters. Abstract.

    .. math:: c_n \sim \mathrm{Categorical}(\pi), \quad x_n \mid c_n = k \sim p_k, \qquad
        \log p(x_n) = \log \sum_k \pi_k \, p_k(x_n).

    Subclasses give a component's distribution, and its log density for all data at once. What is exact computes in
    float64 and answers in it, whatever the parameters' number type.
    """

    weights: Any

    def __init__(self, num_components: int, num_features: int) -> None:
        super().__init__()
        check_size("num_components", num_components)
        check_size("num_features", num_features)
        self.num_components, self.num_features = num_components, num_features
        self.weights = PyroParam(torch.full((num_components,), 1.0 / num_components), constraints.simplex)

    row_weight = "weight"

    def model(self, x: Tensor | None = None, weight: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(c)
            c = pyro.sample("assignment", dist.Categorical(self.weights), infer={"enumerate": "parallel"})
            # p(x | c)
            return pyro.sample("x", self.component(c), obs=x)

    def guide(self, x: Tensor | None = None, weight: Tensor | None = None) -> None:
        """Nothing to sample: the assignment is summed out."""

    @abc.abstractmethod
    def component(self, c: torch.LongTensor) -> TorchDistributionMixin:
        """The distribution of `x` given component(s) `c`, of any batch shape."""

    @abc.abstractmethod
    def component_log_prob(self, x: Tensor) -> Tensor:
        r""":math:`\log p(x_n \mid c_n = k)`, ``(N, C)``, in the number type of `x` or a wider one."""

    def log_joint(self, data: Mapping[str, Tensor]) -> Tensor:
        r""":math:`\log \pi_k + \log p(x_n \mid k)`, ``(N, C)``."""
        return self._joint(to_tensors(data, wide(self.weights), self.check_data)["x"])

    def _joint(self, x: Tensor) -> Tensor:
        return self.weights.to(x.dtype).log() + self.component_log_prob(x)  # type: ignore[no-any-return]

    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Exact :math:`\log p(x_n)` in nats, ``(N,)``."""
        return self.log_joint(data).logsumexp(-1)

    def exact_posterior(self, data: Mapping[str, Tensor]) -> dict[str, torch.distributions.Distribution]:
        r"""Exact :math:`p(c_n \mid x_n)`, batch shape ``(N,)``."""
        return {"assignment": torch.distributions.Categorical(logits=self.log_joint(data))}

    @torch.no_grad()
    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        r"""Responsibilities :math:`p(c_n = k \mid x_n)`, ``(N, C)``; their `argmax(-1)` is the hard label."""
        return self.log_joint(data).softmax(-1)
