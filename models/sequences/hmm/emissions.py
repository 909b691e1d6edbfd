"""What a state emits: densities of frames, draws, and expected sufficient statistics."""

from __future__ import annotations

__all__ = ["CategoricalEmission", "Emission", "GaussianEmission"]

import abc
import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import constraints

from ...common.linalg import inverse_triangular
from ...common.precision import wide
from ...mixtures.gaussian_em import Moments, log_normalizer


class Emission(abc.ABC):
    r"""The distributions :math:`p(x_t \mid s_t = k)` of all C states. Abstract.

    Attributes:
        frame_shape: the shape of one frame.
        support: of a whole sequence.
    """

    frame_shape: torch.Size
    support: Any

    @abc.abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        r""":math:`\log p(x \mid k)`, ``(…, C)``, for frames ``(…, *frame_shape)``."""

    @abc.abstractmethod
    def wide(self) -> Self:
        """The same in float64."""

    @abc.abstractmethod
    def draw(self, states: Tensor) -> Tensor:
        """One frame for each state, ``(…, *frame_shape)``."""

    @abc.abstractmethod
    def statistics(self, x: Tensor, share: Tensor) -> Any:
        """Expected sufficient statistics of frames ``(M, …)`` that belong to the states by `share`, ``(M, C)``."""


@dataclass(frozen=True)
class GaussianEmission(Emission):
    r""":math:`\mathcal N(\mu_k, \Sigma_k)`, one state after the other: nothing of size ``M C D`` is made.

    Args:
        means: ``(C, D)``.
        scale: standard deviations ``(C, D)``, or Cholesky factors ``(C, D, D)``.
    """

    means: Tensor
    scale: Tensor

    @property
    def frame_shape(self) -> torch.Size:  # type: ignore[override]
        return self.means.shape[-1:]

    @property
    def support(self) -> Any:  # type: ignore[override]
        return constraints.independent(constraints.real, 2)

    def _whitening(self) -> Tensor:
        """The factors' inverses: ``(C, D)``, or ``(C, D, D)`` to multiply a row from the right."""
        if self.scale.dim() == 2:
            return self.scale.reciprocal()
        return inverse_triangular(self.scale).mT

    def log_prob(self, x: Tensor) -> Tensor:
        distances = []
        for mean, whiten in zip(self.means, self._whitening(), strict=True):
            y = (x - mean) * whiten if whiten.dim() == 1 else (x - mean) @ whiten
            distances.append(y.square().sum(-1))
        return log_normalizer(self.scale) - 0.5 * torch.stack(distances, -1)

    def wide(self) -> GaussianEmission:
        return GaussianEmission(wide(self.means), wide(self.scale))

    def draw(self, states: Tensor) -> Tensor:
        noise = torch.randn(*states.shape, *self.frame_shape, dtype=self.means.dtype, device=self.means.device)
        if self.scale.dim() == 2:
            return self.means[states] + self.scale[states] * noise
        return self.means[states] + (self.scale[states] @ noise.unsqueeze(-1)).squeeze(-1)

    def statistics(self, x: Tensor, share: Tensor) -> Moments:
        """The moments in each state's own whitened coordinates."""
        first, second = [], []
        weights = share.mT.contiguous()
        for mean, whiten, weight in zip(self.means, self._whitening(), weights, strict=True):
            if whiten.dim() == 1:
                y = (x - mean) * whiten
                second.append(weight @ y.square())
            else:
                y = (x - mean) @ whiten
                second.append((y * weight.unsqueeze(-1)).mT @ y)
            first.append(weight @ y)
        return Moments(weights.sum(-1), torch.stack(first), torch.stack(second))


@dataclass(frozen=True)
class CategoricalEmission(Emission):
    """Codes 0, ..., V - 1.

    Args:
        probs: rows that sum to one, ``(C, V)``.
    """

    probs: Tensor

    @property
    def frame_shape(self) -> torch.Size:  # type: ignore[override]
        return torch.Size()

    @property
    def support(self) -> Any:  # type: ignore[override]
        return constraints.independent(constraints.integer_interval(0, self.probs.shape[-1] - 1), 1)

    def log_prob(self, x: Tensor) -> Tensor:
        possible = self.probs > 0
        logs = torch.where(possible, torch.where(possible, self.probs, 1.0).log(), -math.inf)
        return logs.mT[x.long()]

    def wide(self) -> CategoricalEmission:
        return CategoricalEmission(wide(self.probs))

    def draw(self, states: Tensor) -> Tensor:
        chosen = self.probs[states]
        return torch.multinomial(chosen.reshape(-1, chosen.shape[-1]), 1).reshape(states.shape)

    def statistics(self, x: Tensor, share: Tensor) -> Tensor:
        """Expected counts of every code in every state, ``(C, V)``."""
        counts = share.new_zeros(self.probs.shape[-1], share.shape[-1])
        return counts.index_add_(0, x.long(), share).mT
