"""Guides of an autoencoder, q(z | x), as functions of what the encoder puts out."""

from __future__ import annotations

__all__ = ["FlowPosterior", "GaussianPosterior", "make_posterior"]

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ...common.validation import check_choice, check_sizes
from ...distributions.flow import FlowDistribution
from ...distributions.planar_flow import PlanarFlow
from ...distributions.zuko_flows import zuko_flow


class GaussianPosterior(nn.Module):
    r""":math:`q(z \mid x) = \mathcal N(\mu(x), \operatorname{diag} \sigma(x)^2)`."""

    def forward(self, loc: Tensor, scale: Tensor, context: Tensor | None = None) -> TorchDistributionMixin:
        """The guide of each datum, from location and scale ``(..., L)``; a context is ignored."""
        return dist.Normal(loc, scale).to_event(1)


class FlowPosterior(nn.Module):
    r"""A diagonal Gaussian bent by a normalising flow that sees the encoder's context.

    .. math::
        z_0 \sim \mathcal N(\mu(x), \operatorname{diag} \sigma(x)^2), \quad z = f(z_0; h(x)), \quad
        \log q(z \mid x) = \log \mathcal N(z_0; \mu, \sigma^2) - \log |\det f'(z_0; h)|.

    The log determinant is carried along with the draw. The flow starts near the identity, that is at the diagonal
    Gaussian. Only ``"spline"`` is as cheap to invert as to draw from; objectives that score draws at fixed parameters
    (STL, DReG) invert it, take L passes for ``"iaf"`` and are an error for ``"planar"``.

    Args:
        latent_dim: L.
        context_dim: size of :math:`h(x)`, the encoder's third output; 2 L (location and log scale) if it has none.
        kind: ``"planar"``, ``"iaf"`` (affine inverse autoregressive) or ``"spline"`` (coupling by rational-quadratic
            splines on [-5, 5]).
        transforms: number of maps in the chain; by default 10 planar ones, otherwise 2.
        hidden: widths of the hidden layers of the autoregressive or coupling networks (planar maps have none).

    Raises:
        ValueError: an unknown kind, or a size that is not positive; a call, a context of another size.

    References: D. Rezende and S. Mohamed, *Variational Inference with Normalizing Flows*, 2015,
    https://arxiv.org/abs/1505.05770; D. Kingma et al., *Improving Variational Inference with Inverse Autoregressive
    Flow*, 2016, https://arxiv.org/abs/1606.04934; C. Durkan et al., *Neural Spline Flows*, 2019,
    https://arxiv.org/abs/1906.04032

    Example:
        >>> posterior = FlowPosterior(latent_dim=2, context_dim=4, kind="planar")
        >>> q = posterior(torch.zeros(5, 2), torch.ones(5, 2), torch.zeros(5, 4))
        >>> z = q.rsample()
        >>> z.shape, q.log_prob(z).shape
        (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(
        self,
        latent_dim: int,
        context_dim: int,
        kind: str = "spline",
        transforms: int | None = None,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        check_choice("kind", kind, ("planar", "iaf", "spline"))
        count = (10 if kind == "planar" else 2) if transforms is None else transforms
        check_sizes(latent_dim=latent_dim, context_dim=context_dim, transforms=count, hidden=hidden)
        self.latent_dim, self.context_dim = latent_dim, context_dim
        self.flow: Any  # context (..., context_dim) -> the bijection, which gives value and log determinant at once
        if kind == "planar":
            self.flow = PlanarFlow(latent_dim, context_dim, count)
        else:
            self.flow = zuko_flow({"iaf": "affine"}.get(kind, kind), latent_dim, context_dim, count, hidden)

    def forward(self, loc: Tensor, scale: Tensor, context: Tensor | None = None) -> FlowDistribution:
        """The guide of each datum, from location and scale ``(..., L)`` and context ``(..., context_dim)``."""
        if context is None:
            context = torch.cat([loc, scale.log()], -1)
        if context.shape[-1] != self.context_dim:
            raise ValueError(
                f"`encoder` must give this flow a context of size `context_dim` = {self.context_dim} (its third output;"
                f" without one, location and log scale), got {context.shape[-1]}. Use posterior=FlowPosterior("
                f"{self.latent_dim}, context_dim={context.shape[-1]})."
            )
        return FlowDistribution(self.flow(context), loc, scale)


def make_posterior(posterior: str | nn.Module | None, latent_dim: int, context_dim: int) -> nn.Module:
    """The posterior itself, the flow of this name, or the diagonal Gaussian for None."""
    if posterior is None:
        return GaussianPosterior()
    if isinstance(posterior, nn.Module):
        if isinstance(posterior, FlowPosterior) and posterior.latent_dim != latent_dim:
            raise ValueError(f"`posterior` must have latent_dim={latent_dim}, got {posterior.latent_dim}.")
        return posterior
    check_choice("posterior", posterior, ("planar", "iaf", "spline"))
    return FlowPosterior(latent_dim, context_dim, posterior)
