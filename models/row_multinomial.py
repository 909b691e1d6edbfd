"""The multinomial of rows with totals of their own."""

from __future__ import annotations

__all__ = ["RowMultinomial"]

import pyro.distributions as dist
import torch
from torch import Tensor


class RowMultinomial(dist.Multinomial):
    r"""As `Multinomial`, but `total_count` is only that of a draw: a row is scored with its own total.

    .. math:: \log p(x \mid T) = \log T! - \sum_d \log x_d! + \sum_d x_d \log \theta_d, \qquad T = \sum_d x_d.

    Draws can be vectorised over particles, which torch's cannot.
    """

    def __init__(self, total_count: int, probs: Tensor) -> None:
        super().__init__(total_count, probs, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> RowMultinomial:
        return RowMultinomial(self.total_count, self.probs.expand(*batch_shape, -1))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            drawn = self._categorical.sample(torch.Size((self.total_count,)) + torch.Size(sample_shape))
            index = drawn.movedim(0, -1)
            zeros = torch.zeros_like(self.probs.expand(*index.shape[:-1], -1))
            return zeros.scatter_add(-1, index, torch.ones_like(index, dtype=zeros.dtype))
