"""Counts of words in documents of lengths of their own, scored by log probabilities."""

from __future__ import annotations

__all__ = ["WordCounts"]

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from .count_masses import multinomial_log_mass
from .row_multinomial import RowMultinomial


class WordCounts(TorchDistribution):
    r"""Multinomial counts whose total is the document's own.

    .. math:: \log p(x) = \log T! - \sum_v \log x_v! + \sum_v x_v \log \pi_v, \qquad T = \sum_v x_v.

    Unlike `Multinomial` it neither normalises nor clips what it is given: with a large vocabulary most probabilities
    are below the resolution at which torch clips.

    Args:
        total_count: words of a document that is drawn.
        log_probs: normalised and finite, ``(..., V)``.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch's own interface
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(self, total_count: int, log_probs: Tensor) -> None:
        self.total_count, self.log_probs = total_count, log_probs
        super().__init__(log_probs.shape[:-1], log_probs.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: object = None) -> WordCounts:
        return WordCounts(self.total_count, self.log_probs.expand(*batch_shape, -1))

    def log_prob(self, value: Tensor) -> Tensor:
        return multinomial_log_mass(value, self.log_probs)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        return RowMultinomial(self.total_count, self.log_probs.exp()).sample(sample_shape)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.log_probs.exp()
