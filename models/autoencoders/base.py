"""What autoencoders share: checked sizes, a likelihood that starts at the data, and Gaussians that networks put out."""

from __future__ import annotations

__all__ = ["Autoencoder", "Widths"]

from collections.abc import Mapping, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import LatentVariableModel
from ..common.validation import check_sizes
from .parts.likelihoods import Likelihood, make_likelihood
from .parts.network_checks import check_latent

Widths = int | Sequence[int]


class Autoencoder(LatentVariableModel):
    r"""Abstract: a `likelihood` :math:`p(x \mid h)` of the outputs h of a `decoder`.

    Args:
        data_shape: event shape of one datum, or its number of features.
        likelihood: its name, or a `Likelihood`.
        scale: of a Gaussian likelihood, in the units of `x`.
        num_categories: of a categorical likelihood: the number of codes.
        sizes: what else must be positive, by argument: numbers and sequences of them.

    Raises:
        ValueError: a size is not positive, an unknown likelihood; `check_data` finds data of the wrong shape or range.
    """

    decoder: nn.Module
    latent_dim: int

    def __init__(
        self,
        data_shape: Widths,
        likelihood: str | Likelihood,
        scale: float = 1.0,
        num_categories: int | None = None,
        **sizes: Widths,
    ) -> None:
        super().__init__()
        self.data_shape = (data_shape,) if isinstance(data_shape, int) else tuple(data_shape)
        check_sizes(data_shape=self.data_shape, **sizes)
        self.likelihood = make_likelihood(likelihood, self.data_shape, scale=scale, num_categories=num_categories)

    def _gaussian(self, network: str, *inputs: Tensor) -> dist.Independent:
        r""":math:`\mathcal N(\mu, \operatorname{diag} \sigma^2)` over z, which the network of this name puts out.

        Raises:
            ValueError: location or scale is of another size than `latent_dim`.
        """
        loc, scale = getattr(self, network)(*inputs)
        check_latent(network, (loc, scale), self.latent_dim)
        return dist.Normal(loc, scale).to_event(1)

    def check_data(self, x: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            self.likelihood.check("x", x)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start the likelihood, and the default decoder's output bias, at the data's marginal distribution."""
        self.likelihood.start(batch["x"], self.decoder)
