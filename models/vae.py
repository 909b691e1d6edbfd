"""The variational autoencoder: a Gaussian latent decoded by a network, with an amortised Gaussian guide."""

from __future__ import annotations

__all__ = ["VAE"]

from collections.abc import Mapping, Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .base import LatentVariableModel
from .checks import check_positive
from .likelihoods import Likelihood, make_likelihood
from .networks import MLP, ConvolutionalDecoder, GaussianEncoder
from .vae_priors import VampPrior


class VAE(LatentVariableModel):
    r"""Variational autoencoder.

    .. math::
        z_n \sim \mathcal N(0, I_L), \quad x_n \mid z_n \sim p(\cdot \mid h_\theta(z_n)), \qquad
        q_\phi(z_n \mid x_n) = \mathcal N(\mu_\phi(x_n), \operatorname{diag} \sigma_\phi(x_n)^2).

    =====================  =============================================  ==========================
    symbol                 meaning                                        argument or site
    =====================  =============================================  ==========================
    :math:`x`              data, ``(N, *data_shape)``                     ``x`` (drawn if None)
    :math:`z`              latent, ``(N, L)``, local                      site ``z``
    :math:`h_\theta`       network ``(B, L) -> (B, *output_shape)``       ``decoder``
    :math:`\mu,\sigma`     network ``(B, *feature_shape) -> two (B, L)``  ``encoder``
    :math:`p(\cdot|h)`     distribution of x given the decoder's output   ``likelihood``
    =====================  =============================================  ==========================

    Args:
        data_shape: event shape of one datum, or its number of features.
        latent_dim: L.
        encoder: any module that returns the pair (location, positive scale); default `GaussianEncoder`.
        decoder: any module whose output the likelihood reads (`likelihood.output_shape`); default `MLP`.
        likelihood: ``"bernoulli"``, ``"bernoulli_grey"``, ``"gaussian"`` (learned scale per feature),
            ``"gaussian_fixed"``, ``"categorical"``, or a `Likelihood`.
        hidden: widths of the default networks' hidden layers (the decoder's in reverse).
        activation: nonlinearity of the default networks.
        scale: of a Gaussian likelihood, in the units of `x`: fixed, or the start of the learned.
        num_categories: of a categorical likelihood: the number of codes.
        prior: of `z`: None for the standard normal, or a `VampPrior`.

    Raises:
        ValueError: a size is not positive, an unknown name; `check_data` finds data of the wrong shape or range.

    References: D. Kingma and M. Welling, *Auto-Encoding Variational Bayes*, 2014, https://arxiv.org/abs/1312.6114;
    defaults (tanh, Glorot, output bias at the data's mean) from Y. Burda et al., *Importance Weighted Autoencoders*,
    2016, https://arxiv.org/abs/1509.00519

    Example:
        >>> model = VAE(data_shape=64, latent_dim=2, hidden=(32,))
        >>> model.generate(5, seed=0)["x"].shape
        torch.Size([5, 64])
    """

    def __init__(
        self,
        data_shape: int | Sequence[int],
        latent_dim: int,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        likelihood: str | Likelihood = "bernoulli",
        hidden: Sequence[int] = (200, 200),
        activation: str = "tanh",
        scale: float = 1.0,
        num_categories: int | None = None,
        prior: VampPrior | None = None,
    ) -> None:
        super().__init__()
        self.data_shape = (data_shape,) if isinstance(data_shape, int) else tuple(data_shape)
        for size in (*self.data_shape, latent_dim, *hidden):
            check_positive("data_shape, latent_dim and hidden", size)
        self.latent_dim = latent_dim
        self.likelihood = make_likelihood(likelihood, self.data_shape, scale=scale, num_categories=num_categories)
        if encoder is None:
            encoder = GaussianEncoder(self.likelihood.feature_shape, latent_dim, hidden, activation)
        if decoder is None:
            decoder = MLP((latent_dim,), self.likelihood.output_shape, tuple(hidden)[::-1], activation)
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(z)
            normal = dist.Normal(self.zeros, self.ones).to_event(1)
            z = pyro.sample("z", normal if self.prior is None else self.prior(self.encoder))
            # p(x | z)
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            # q(z | x)
            return pyro.sample("z", dist.Normal(*self.encode(x)).to_event(1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the guide, each ``(B, L)``."""
        return self.encoder(self.likelihood.features(x))

    def decode(self, z: Tensor) -> Tensor:
        """Mean of `x` given the latent ``(..., L)``; of a categorical the class probabilities."""
        return self.likelihood.mean(self.decoder(z))

    def reconstruct(self, x: Tensor, num: int | None = None) -> Tensor:
        r"""Decode the guide's mean: ``(B, *data_shape)``; with `num`, decode draws of it: ``(num, B, *data_shape)``."""
        loc, scale = self.encode(x)
        if num is None:
            return self.decode(loc)
        z = loc + scale * torch.randn(num, *loc.shape, dtype=loc.dtype, device=loc.device)
        return self.decode(z.flatten(0, 1)).unflatten(0, (num, len(loc)))

    def check_data(self, x: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            self.likelihood.check("x", x)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start the likelihood, and the default decoder's output bias, at the data's marginal distribution."""
        x = batch["x"]
        self.likelihood.initialize(x)
        if self.prior is not None:
            self.prior.initialize(self.likelihood.features(x), seed)
        if isinstance(self.decoder, MLP):
            self.decoder.output.bias.copy_(self.likelihood.output_bias(x).flatten())
        elif isinstance(self.decoder, ConvolutionalDecoder):
            self.decoder.bias.copy_(self.likelihood.output_bias(x))
