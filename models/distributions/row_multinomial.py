"""The multinomial of rows with totals of their own."""

from __future__ import annotations

__all__ = ["RowMultinomial"]

import pyro.distributions as dist
import torch
from torch import Tensor

from ..common.precision import wide
from .count_masses import multinomial_log_mass


class RowMultinomial(dist.Multinomial):
    r"""As `Multinomial`, but `total_count` is only that of a draw: a row is scored with its own total.

    .. math:: \log p(x \mid T) = \log T! - \sum_d \log x_d! + \sum_d x_d \log \theta_d, \qquad T = \sum_d x_d.

    Draws can be vectorised over particles, which torch's cannot. The log mass keeps its digits at any total, and clips
    no probability.
    """

    def __init__(self, total_count: int, probs: Tensor) -> None:
        super().__init__(total_count, probs, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> RowMultinomial:
        return RowMultinomial(self.total_count, self.probs.expand(*batch_shape, -1))

    def log_prob(self, value: Tensor) -> Tensor:
        probs = wide(self.probs)  # in float32 their sum is short of one by a rounding, which counts T times
        log_probs = probs.clamp_min(torch.finfo(probs.dtype).tiny).log() - probs.sum(-1, keepdim=True).log()
        return multinomial_log_mass(value, log_probs).to(self.probs.dtype)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            drawn = self._categorical.sample(torch.Size((self.total_count,)) + torch.Size(sample_shape))
            index = drawn.movedim(0, -1)
            zeros = torch.zeros_like(self.probs.expand(*index.shape[:-1], -1))
            return zeros.scatter_add(-1, index, torch.ones_like(index, dtype=zeros.dtype))
