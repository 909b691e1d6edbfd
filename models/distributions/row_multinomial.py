"""The multinomial of rows with totals of their own."""

from __future__ import annotations

__all__ = ["RowMultinomial"]

from typing import Any

import torch
from pyro.distributions import Categorical
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..common.precision import wide
from .count_masses import multinomial_log_mass


class RowMultinomial(TorchDistribution):
    r"""As `Multinomial`, but `total_count` is only that of a draw: a row is scored with its own total.

    .. math:: \log p(x \mid T) = \log T! - \sum_d \log x_d! + \sum_d x_d \log \theta_d, \qquad T = \sum_d x_d.

    Draws can be vectorised over particles, which torch's cannot. The log mass keeps its digits at any total, and clips
    no probability: with a large vocabulary most are below the resolution at which torch clips.

    Args:
        total_count: of a row that is drawn.
        probs: rows that sum to one but for rounding, ``(..., D)``. Give these or `log_probs`.
        log_probs: normalised and finite, ``(..., D)``: taken as they are.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  # torch's own interface
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(self, total_count: int, probs: Tensor | None = None, *, log_probs: Tensor | None = None) -> None:
        self.total_count, self._probs, self._log_probs = total_count, probs, log_probs
        given: Any = probs if log_probs is None else log_probs
        super().__init__(given.shape[:-1], given.shape[-1:], validate_args=False)

    @property
    def probs(self) -> Tensor:
        return self._log_probs.exp() if self._probs is None else self._probs  # type: ignore[union-attr]

    def expand(self, batch_shape: Any, _instance: object = None) -> RowMultinomial:
        if self._probs is not None:
            return RowMultinomial(self.total_count, self._probs.expand(*batch_shape, -1))
        return RowMultinomial(self.total_count, log_probs=self._log_probs.expand(*batch_shape, -1))  # type: ignore[union-attr]

    def log_prob(self, value: Tensor) -> Tensor:
        if self._log_probs is not None:
            return multinomial_log_mass(value, self._log_probs)
        probs = wide(self.probs)  # in float32 their sum is short of one by a rounding, which counts T times
        log_probs = probs.clamp_min(torch.finfo(probs.dtype).tiny).log() - probs.sum(-1, keepdim=True).log()
        return multinomial_log_mass(value, log_probs).to(self.probs.dtype)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            each = Categorical(self.probs, validate_args=False)
            index = each.sample(torch.Size((self.total_count, *sample_shape))).movedim(0, -1)
            zeros = self.probs.new_zeros(*index.shape[:-1], *self.event_shape)
            return zeros.scatter_add(-1, index, torch.ones_like(index, dtype=zeros.dtype))

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs
