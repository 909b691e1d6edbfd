"""Closed forms that a model may offer; methods and metrics look for these names."""

from __future__ import annotations

__all__ = ["CAVIModel", "EMModel", "HasExactEvidence", "HasExactGuide", "HasExactPosterior", "HasPrediction"]

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .coordinate_guide import CoordinateGuide


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
        """Predictions, one row per datum."""
        ...


@runtime_checkable
class HasExactGuide(Protocol):
    """A model whose own guide contains the exact posterior."""

    def set_exact_guide(self) -> None:
        """Set the guide's parameters so that it is the exact posterior at the present parameters of the model."""
        ...


@runtime_checkable
class EMModel(Protocol):
    r"""A model that expectation-maximisation can fit in closed form.

    .. math:: Q(\theta; \theta') = \mathbb E_{p(z \mid x, \theta')} [\log p_\theta(x, z)] + \log p(\theta)
    """

    def e_step(self, data: Mapping[str, Tensor]) -> tuple[Any, Tensor]:
        r"""Expected sufficient statistics under the posterior at the present parameters :math:`\theta'`, and
        :math:`\log p_{\theta'}(x)` of all the data, ``()`` in nats (plus :math:`\log p(\theta')` where `m_step`
        maximises a posterior)."""
        ...

    def m_step(self, statistics: Any) -> None:
        r"""Set the parameters to the maximiser of :math:`Q`, which depends on the data through `statistics` alone."""
        ...


@runtime_checkable
class CAVIModel(Protocol):
    """A model with factors that coordinate-ascent variational inference can update in closed form."""

    def coordinate_guide(self, data: Mapping[str, Tensor], seed: int) -> CoordinateGuide:
        """A start for the factors. Their shapes must not depend on the number of data."""
        ...
