"""Log masses of counts that keep their digits however large the counts are."""

from __future__ import annotations

__all__ = ["CountPoisson", "log_multinomial_coefficient", "multinomial_log_mass"]

import pyro.distributions as dist
from torch import Tensor

from ..common.precision import wide


def log_multinomial_coefficient(x: Tensor) -> Tensor:
    r"""Orders in which what is counted can stand, :math:`\log T! - \sum_d \log x_d!`, ``(..., D) -> (...)``, in
    float64: it is a difference of numbers of the order of :math:`T \log T`."""
    x = wide(x)
    return (x.sum(-1) + 1).lgamma() - (x + 1).lgamma().sum(-1)


def multinomial_log_mass(x: Tensor, log_probs: Tensor) -> Tensor:
    r""":math:`\log T! - \sum_d \log x_d! + \sum_d x_d \log \theta_d` of rows with totals T of their own,
    ``(..., D) -> (...)``.

    Two numbers of the order of :math:`T \log T` cancel, so the sum is taken in float64; only the result has the number
    type of the probabilities.

    Args:
        x: counts, ``(..., D)``.
        log_probs: logarithms of the probabilities, ``(..., D)``; what their sum lacks of one counts T times.

    Example:
        >>> import torch
        >>> x, probs = torch.tensor([2_000_300.0, 2_999_500.0, 5_000_200.0]), torch.tensor([0.2, 0.3, 0.5])
        >>> exact = torch.distributions.Multinomial(10_000_000, probs.double()).log_prob(x.double())
        >>> bool((multinomial_log_mass(x, probs.double().log().float()) - exact).abs() < 1.0)
        True
    """
    return (log_multinomial_coefficient(x) + (wide(x) * wide(log_probs)).sum(-1)).to(log_probs.dtype)


class CountPoisson(dist.Poisson):
    r"""As `Poisson`: :math:`x \log \lambda - \lambda - \log x!`, whose terms cancel, taken in float64.

    In float32 nothing but rounding is left of it at rates of 1e6.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        x, rate = wide(value), wide(self.rate)
        return (x.xlogy(rate) - rate - (x + 1).lgamma()).to(self.rate.dtype)
