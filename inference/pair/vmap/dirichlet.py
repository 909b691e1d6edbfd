"""Pathwise draws of Beta and Dirichlet sites that can be vectorised over particles."""

from __future__ import annotations

__all__ = ["simplex_draws"]

from typing import Any

import torch
from pyro.distributions import MaskedDistribution
from pyro.poutine.messenger import Messenger
from torch.distributions import Beta, Dirichlet, Distribution, Independent


class simplex_draws(Messenger):
    r"""Draw Beta and Dirichlet sites as normalised Gammas.

    .. math:: x_i = g_i / \sum_j g_j, \qquad g_i \sim \mathrm{Gamma}(\alpha_i, 1).

    The distribution is the same and the gradient is pathwise, through the Gammas. PyTorch's own sampler is a custom
    autograd function, which :func:`torch.vmap` cannot run.
    """

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"]:
            return
        value = _draw(msg["fn"])
        if value is not None:
            msg["value"], msg["done"] = value, True


def _draw(fn: Distribution) -> torch.Tensor | None:
    while isinstance(fn, (Independent, MaskedDistribution)):
        fn = fn.base_dist
    if isinstance(fn, Beta):
        return _normalised_gammas(torch.stack([fn.concentration1, fn.concentration0], -1))[..., 0]
    if isinstance(fn, Dirichlet):
        return _normalised_gammas(fn.concentration)
    return None


def _normalised_gammas(concentration: torch.Tensor) -> torch.Tensor:
    gammas = _held(torch._standard_gamma(concentration), torch.finfo(concentration.dtype).tiny, float("inf"))
    limits = torch.finfo(concentration.dtype)
    return _held(gammas / gammas.sum(-1, keepdim=True), limits.tiny, 1.0 - limits.eps)


def _held(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """`value` inside ``[low, high]``, with the gradient of `value`."""
    return value + (value.clamp(low, high) - value).detach()
