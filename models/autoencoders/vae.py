"""The variational autoencoder: a Gaussian latent decoded by a network, with an amortised Gaussian guide."""

from __future__ import annotations

__all__ = ["VAE"]

from collections.abc import Mapping, Sequence

import pyro
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from ..common.takes_data import takes_data
from ..distributions.flow import FlowDistribution
from .base import Autoencoder
from .parts.likelihoods import Likelihood
from .parts.network_checks import check_image_network, check_latent
from .parts.networks import MLP, GaussianEncoder
from .parts.posteriors import make_posterior
from .parts.priors import FlowPrior, VampPrior, make_prior


class VAE(Autoencoder):
    r"""Variational autoencoder.

    .. math::
        z_n \sim \mathcal N(0, I_L), \quad x_n \mid z_n \sim p(\cdot \mid h_\theta(z_n)), \qquad
        q_\phi(z_n \mid x_n) = \mathcal N(\mu_\phi(x_n), \operatorname{diag} \sigma_\phi(x_n)^2),

    or that Gaussian bent by a flow (`posterior`).

    =====================  =============================================  ==========================
    symbol                 meaning                                        argument or site
    =====================  =============================================  ==========================
    :math:`x`              data, ``(N, *data_shape)``                     ``x`` (drawn if None)
    :math:`z`              latent, ``(N, L)``, local                      site ``z``
    :math:`h_\theta`       network ``(B, L) -> (B, *output_shape)``       ``decoder``
    :math:`\mu,\sigma`     network ``(B, *feature_shape) -> two (B, L)``  ``encoder``
    :math:`q(z|x)`         distribution of z given the encoder's output   ``posterior``
    :math:`p(z)`           prior, standard normal by default              ``prior``
    :math:`p(\cdot|h)`     distribution of x given the decoder's output   ``likelihood``
    =====================  =============================================  ==========================

    Args:
        data_shape: event shape of one datum, or its number of features.
        latent_dim: L.
        encoder: any module that returns the pair (location, positive scale), and, if it likes, a context that a flow
            may see; default `GaussianEncoder` of an `MLP`.
        decoder: any module whose output the likelihood reads (`likelihood.output_shape`); default `MLP`.
        likelihood: ``"bernoulli"``, ``"bernoulli_grey"``, ``"gaussian"`` (learned scale per feature),
            ``"gaussian_fixed"``, ``"categorical"``, or a `Likelihood`.
        hidden: widths of the default networks' hidden layers (the decoder's in reverse).
        activation: nonlinearity of the default networks.
        scale: of a Gaussian likelihood, in the units of `x`: the fixed one; a learned one starts at the data's sd.
        num_categories: of a categorical likelihood: the number of codes.
        prior: of `z`: None for the standard normal, ``"maf"`` or ``"spline"`` for a `FlowPrior`, or such a module or a
            `VampPrior`.
        posterior: None for the diagonal Gaussian, ``"planar"``, ``"iaf"`` or ``"spline"`` for that Gaussian bent by a
            `FlowPosterior`, or a module that maps the encoder's outputs to a distribution over z.

    Raises:
        ValueError: a size is not positive, an unknown name, a `VampPrior` (a mixture of diagonal Gaussians) with a flow
            posterior, a part built for other sizes; `check_data` finds data of the wrong shape or range; a fit finds
            entries that are constant under ``"gaussian"``, or networks of one's own that put out other sizes.

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
        prior: str | VampPrior | FlowPrior | None = None,
        posterior: str | nn.Module | None = None,
    ) -> None:
        super().__init__(data_shape, likelihood, scale, num_categories, latent_dim=latent_dim, hidden=hidden)
        self.latent_dim = latent_dim
        if isinstance(prior, VampPrior) and posterior is not None:
            raise ValueError("`prior` VampPrior mixes diagonal Gaussians: leave `posterior` None, or use a FlowPrior.")
        width = 2 * latent_dim if encoder is not None or not hidden else hidden[-1]
        self.posterior = make_posterior(posterior, latent_dim, width)
        if encoder is None:
            context_dim = getattr(self.posterior, "context_dim", 0)
            outputs = (2 * latent_dim + context_dim,)
            encoder = GaussianEncoder(MLP(self.likelihood.feature_shape, outputs, hidden, activation), context_dim)
        if decoder is None:
            decoder = MLP((latent_dim,), self.likelihood.output_shape, tuple(hidden)[::-1], activation)
        check_image_network("encoder", encoder, self.likelihood, latent_dim)
        check_image_network("decoder", decoder, self.likelihood, latent_dim)
        self.encoder, self.decoder = encoder, decoder
        self.prior = make_prior(prior, latent_dim, self.likelihood.feature_shape)

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(z)
            z = pyro.sample("z", self.prior(self.encoder))
            # p(x | z)
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    def guide(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            # q(z | x)
            return pyro.sample("z", self.infer(x))

    @takes_data
    def infer(self, x: Tensor) -> TorchDistributionMixin:
        """The guide's distribution of `z`, batch shape ``(B,)`` and event shape ``(L,)``."""
        outputs = self.encoder(self.likelihood.features(x))
        check_latent("encoder", outputs, self.latent_dim)
        return self.posterior(*outputs)

    @takes_data
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the guide, each ``(B, L)``; before the flow, if it has one."""
        loc, scale, *_ = self.encoder(self.likelihood.features(x))
        return loc, scale

    @takes_data
    def embed(self, x: Tensor) -> Tensor:
        """One point ``(B, L)`` for each datum: the guide's mean; of a flow, where it takes its Gaussian's mean."""
        q = self.infer(x)
        return q.centre if isinstance(q, FlowDistribution) else q.mean

    @takes_data
    def decode(self, z: Tensor) -> Tensor:
        """Mean of `x` given the latent ``(..., L)``; of a categorical the class probabilities."""
        return self.likelihood.mean(self.decoder(z))

    @takes_data
    def reconstruct(self, x: Tensor, num: int | None = None) -> Tensor:
        """Decode what `embed` gives: ``(B, *data_shape)``; with `num`, decode draws: ``(num, B, *data_shape)``."""
        if num is None:
            return self.decode(self.embed(x))
        z = self.infer(x).rsample((num,))
        return self.decode(z.flatten(0, 1)).unflatten(0, (num, len(x)))

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start the likelihood, and the default decoder's output bias, at the data's marginal distribution."""
        super().initialize(batch, seed)
        self.prior.initialize(self.likelihood.features(batch["x"]), seed)
