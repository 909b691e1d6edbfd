"""Priors over an autoencoder's latent: the standard normal, and those that are learned with the model."""

from __future__ import annotations

__all__ = ["FlowPrior", "StandardNormal", "VampPrior", "make_prior"]

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ...common.validation import check_choice, check_sizes
from ...distributions.flow import InvertedFlowDistribution
from ...distributions.zuko_flows import zuko_flow


class StandardNormal(nn.Module):
    r""":math:`p(z) = \mathcal N(0, I_L)`.

    Args:
        latent_dim: L.
    """

    zeros: Tensor
    ones: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)

    def forward(self, encoder: nn.Module | None = None) -> TorchDistributionMixin:
        """The prior, event shape ``(L,)``; it does not depend on the encoder."""
        return dist.Normal(self.zeros, self.ones).to_event(1)

    def initialize(self, features: Tensor, seed: int) -> None:
        """Nothing to set."""


class VampPrior(nn.Module):
    r"""Mixture of the guide's posteriors at learned pseudo-inputs, with learned weights.

    .. math:: p(z) = \sum_{c=1}^C \pi_c\, q_\phi(z \mid u_c).

    Args:
        feature_shape: event shape of what the encoder sees (`likelihood.feature_shape`).
        num_components: C, the number of pseudo-inputs.

    Raises:
        ValueError: a size is not positive; `initialize` gets fewer than C data.

    Reference: J. Tomczak and M. Welling, *VAE with a VampPrior*, 2018, https://arxiv.org/abs/1705.07120

    Example:
        >>> prior = VampPrior((4,), num_components=3)
        >>> prior(lambda u: (u[:, :2], torch.ones(3, 2))).event_shape
        torch.Size([2])
    """

    def __init__(self, feature_shape: Sequence[int], num_components: int) -> None:
        super().__init__()
        check_sizes(feature_shape=tuple(feature_shape), num_components=num_components)
        self.num_components = num_components
        self.pseudo_inputs = nn.Parameter(torch.full((num_components, *feature_shape), 0.5))
        self.logits = nn.Parameter(torch.zeros(num_components))

    def forward(self, encoder: nn.Module) -> TorchDistributionMixin:
        """The prior under this encoder: event shape ``(L,)``."""
        components = dist.Normal(*encoder(self.pseudo_inputs)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)

    @torch.no_grad()
    def initialize(self, features: Tensor, seed: int) -> None:
        """Start the pseudo-inputs at rows drawn from the features, ``(N, *feature_shape)``."""
        if len(features) < self.num_components:
            raise ValueError(
                f"`num_components` must be at most the number of data, {len(features)}, got {self.num_components}."
            )
        rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[: self.num_components]
        self.pseudo_inputs.copy_(features[rows.to(features.device)])


class FlowPrior(nn.Module):
    r"""A standard normal bent by a normalising flow; its KL from the guide is estimated from draws.

    .. math:: p(z) = \mathcal N(f(z); 0, I_L)\, |\det f'(z)|.

    The density of any z costs one evaluation of the flow. The flow starts near the identity, that is at the standard
    normal.

    Args:
        latent_dim: L.
        kind: ``"spline"`` (coupling by rational-quadratic splines on [-5, 5], also cheap to draw from) or ``"maf"``
            (masked autoregressive; a draw takes L passes).
        transforms: number of maps in the chain.
        hidden: widths of the hidden layers of each map's network.

    Raises:
        ValueError: an unknown kind, or a size that is not positive.

    References: G. Papamakarios et al., *Masked Autoregressive Flow for Density Estimation*, 2017,
    https://arxiv.org/abs/1705.07057; C. Durkan et al., *Neural Spline Flows*, 2019, https://arxiv.org/abs/1906.04032;
    as a prior: X. Chen et al., *Variational Lossy Autoencoder*, 2017, https://arxiv.org/abs/1611.02731

    Example:
        >>> prior = FlowPrior(latent_dim=2)
        >>> prior().log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    zeros: Tensor
    ones: Tensor

    def __init__(
        self, latent_dim: int, kind: str = "spline", transforms: int = 3, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        check_choice("kind", kind, ("maf", "spline"))
        check_sizes(latent_dim=latent_dim, transforms=transforms, hidden=hidden)
        self.latent_dim = latent_dim
        self.flow = zuko_flow({"maf": "affine"}.get(kind, kind), latent_dim, 0, transforms, hidden)
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)

    def forward(self, encoder: nn.Module | None = None) -> InvertedFlowDistribution:
        """The prior, event shape ``(L,)``; it does not depend on the encoder."""
        return InvertedFlowDistribution(self.flow(), self.zeros, self.ones)

    def initialize(self, features: Tensor, seed: int) -> None:
        """Nothing to set: the flow starts near the standard normal."""


def make_prior(
    prior: str | VampPrior | FlowPrior | None, latent_dim: int, feature_shape: Sequence[int]
) -> StandardNormal | VampPrior | FlowPrior:
    """The prior itself, checked against the sizes of the model, the flow of this name, or a standard normal for None.

    Raises:
        ValueError: an unknown name, or a prior of another latent size or feature shape.
    """
    if prior is None:
        return StandardNormal(latent_dim)
    if isinstance(prior, str):
        check_choice("prior", prior, ("maf", "spline"))
        return FlowPrior(latent_dim, prior)
    if isinstance(prior, FlowPrior) and prior.latent_dim != latent_dim:
        raise ValueError(f"`prior` must have latent_dim={latent_dim}, got {prior.latent_dim}.")
    if isinstance(prior, VampPrior) and (found := tuple(prior.pseudo_inputs.shape[1:])) != tuple(feature_shape):
        raise ValueError(
            f"`prior` must have feature_shape={tuple(feature_shape)}, what the encoder sees of a datum, got {found}."
        )
    return prior
