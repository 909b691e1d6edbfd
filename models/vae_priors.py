"""Priors over an autoencoder's latent that are learned with it."""

from __future__ import annotations

__all__ = ["VampPrior"]

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from .checks import check_positive


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
        for size in (*feature_shape, num_components):
            check_positive("feature_shape and num_components", size)
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
