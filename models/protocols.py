"""Closed forms that a model may offer; methods and metrics look for these names."""

from __future__ import annotations

__all__ = ["EMModel", "HasExactEvidence", "HasExactPosterior", "HasPrediction"]

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class HasExactEvidence(Protocol):
    r"""A model whose evidence :math:`\log p(x)` is known exactly."""

    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        """Exact log evidence in nats: one per datum ``(N,)``, or the joint total ``()`` if the data are dependent."""
        ...


@runtime_checkable
class HasExactPosterior(Protocol):
    r"""A model whose posterior :math:`p(z \mid x)` is known exactly."""

    def exact_posterior(self, data: Mapping[str, Tensor]) -> dict[str, torch.distributions.Distribution]:
        """The exact posterior of each latent site: batch shape ``(N,)`` for a local latent, ``()`` for a global one."""
        ...


@runtime_checkable
class HasPrediction(Protocol):
    """A model that can say what it believes about each datum."""

    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        """Predictions, one row a datum."""
        ...


@runtime_checkable
class EMModel(Protocol):
    """A model that Expectation-Maximisation can fit in closed form."""

    def e_step(self, data: Mapping[str, Tensor]) -> Any:
        """Expected sufficient statistics under the posterior at the current parameters."""
        ...

    def m_step(self, statistics: Any) -> None:
        """Set the parameters to the maximiser of the expected complete log likelihood."""
        ...
