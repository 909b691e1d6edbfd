"""What a model may offer beside its program: closed forms, losses, predictions. Each says who looks for it.

Attributes that any model may set (`row_weight`, `nan_allowed`, `unlabelled`, `sparse_allowed`, `scored_by_loss`) are
declared in :class:`~jensen.models.LatentVariableModel`.
"""

from __future__ import annotations

__all__ = [
    "CAVIModel",
    "EMModel",
    "HasAuxiliaryLoss",
    "HasEmbedding",
    "HasExactEvidence",
    "HasExactGuide",
    "HasExactPosterior",
    "HasFinish",
    "HasLetters",
    "HasLogPredictive",
    "HasLoss",
    "HasPrediction",
    "HasProbabilities",
    "HasResponsibilities",
    "HasTopics",
    "HasValidationLoss",
]

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
class HasLoss(Protocol):
    """A model that is fitted by a loss of its own, by `LossMinimization`."""

    def losses(self, **batch: Any) -> dict[str, Tensor]:
        """``"loss"``, which is minimised, and what else the history should show: scalars, means over the batch."""
        ...


@runtime_checkable
class HasValidationLoss(Protocol):
    """A model whose losses on validation data are others than on a batch, for `LossMinimization`."""

    def validation_losses(self, **data: Any) -> dict[str, Tensor]:
        """As `losses`, for any number of data."""
        ...


@runtime_checkable
class HasFinish(Protocol):
    """A model that takes a last look at its data when `LossMinimization` has ended."""

    def finish(self, batch: Mapping[str, Tensor]) -> None:
        """Set what is counted rather than learned."""
        ...


@runtime_checkable
class HasAuxiliaryLoss(Protocol):
    """A model with a loss beside its bound, such as a classifier's, for `AuxiliaryELBO`."""

    def auxiliary_loss(self, **batch: Any) -> Tensor:
        """One loss per datum, ``(N,)``."""
        ...


@runtime_checkable
class HasEmbedding(Protocol):
    """A model that maps a datum to a point, for `jensen predict`."""

    def embed(self, x: Tensor) -> Tensor:
        """One point per datum, ``(N, L)``."""
        ...


@runtime_checkable
class HasResponsibilities(Protocol):
    """A model of components with a prior on their parameters, for `jensen predict`."""

    def responsibilities(self, x: Tensor, **draws: Tensor) -> Tensor:
        """Each component's probability per datum, ``(N, C)``, averaged over posterior draws."""
        ...


@runtime_checkable
class HasProbabilities(Protocol):
    """A model of classes given inputs, for `jensen predict`."""

    def probabilities(self, x: Tensor, **draws: Tensor) -> Tensor:
        """Of the class ``(S, N)``, or of each class ``(S, N, C)``, one row per posterior draw."""
        ...


@runtime_checkable
class HasLogPredictive(Protocol):
    """A model whose predictive density is known given its global latents, for `jensen predict`."""

    def log_predictive(self, x: Tensor, **draws: Tensor) -> Tensor:
        """Log density of each datum, averaged over posterior draws, in nats, ``(N,)``."""
        ...


class HasLetters(Protocol):
    """A model of sequences, for `mutation_effects` and `mutation_scan`."""

    letters: str
    """The alphabet in the order of the codes; the last letter is the gap."""


class HasTopics(Protocol):
    """A model, or its guide, with topics, for `fitted_topics` and the scores of topics."""

    @property
    def topics(self) -> Tensor:
        """Each topic's probabilities of the words, ``(K, V)``."""
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
