"""An autoencoder that completes images: hidden pixels given the seen ones, for any mask."""

from __future__ import annotations

__all__ = ["InpaintingVAE"]

import math
from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..common.takes_data import takes_data
from ..common.validation import check_count
from .base import Autoencoder
from .parts.labelled_networks import Joined
from .parts.likelihoods import Likelihood
from .parts.network_checks import check_image_network
from .parts.networks import MLP, GaussianEncoder


class InpaintingVAE(Autoencoder):
    r"""Variational autoencoder with arbitrary conditioning: the distribution of the hidden pixels given the seen ones.

    With a mask :math:`m_n` (1 is seen), :math:`s_n = m_n \odot x_n` and the hidden pixels
    :math:`h_n = \{x_{nd} : m_{nd} = 0\}`,

    .. math::
        z_n \mid s_n, m_n \sim \mathcal N(\mu_\theta(s_n, m_n), \operatorname{diag} \sigma_\theta(s_n, m_n)^2), \quad
        h_n \mid z_n \sim \textstyle\prod_{d : m_{nd} = 0} p(x_{nd} \mid f_\theta(z_n)_d), \\
        q_\phi(z_n \mid x_n, m_n) = \mathcal N(\mu_\phi(x_n, m_n), \operatorname{diag} \sigma_\phi(x_n, m_n)^2).

    Training images are complete and their masks are made up, so the guide sees the whole image; the prior network sees
    what there is at completion. The evidence that a fit bounds and that is scored is :math:`\log p(h \mid s, m)`, the
    log probability of the hidden pixels alone: 0 where nothing is hidden, the evidence of the image where all is.
    It depends on the masks, so compare fits on the same masks.

    =============================  ==================================================  ============================
    symbol                         meaning                                             argument or site
    =============================  ==================================================  ============================
    :math:`x`                      complete data, ``(N, *data_shape)``                 ``x`` (drawn if None)
    :math:`m`                      masks, ``(N, *data_shape)``, 1 seen and 0 hidden    ``mask``
    :math:`z`                      latent, ``(N, L)``, local                           site ``z``
    :math:`\mu,\sigma_\theta`      network: seen pixels, mask -> two ``(B, L)``        ``prior_network``
    :math:`\mu,\sigma_\phi`        network: whole image, mask -> two ``(B, L)``        ``encoder``
    :math:`f_\theta`               network ``(B, L) -> (B, *data_shape)``              ``decoder``
    =============================  ==================================================  ============================

    Fit with fresh masks at every presentation: ``SVI(..., transform=jensen.datasets.RandomMasks())``.

    Args:
        data_shape: event shape of one datum, or its number of features.
        latent_dim: L.
        prior_network: any module (seen, mask) -> (location, positive scale), such as a `PartialConvolutionalEncoder`;
            it gets zeros for hidden pixels. Default: an `MLP` of both.
        encoder: any module (x, mask) -> (location, positive scale); default an `MLP` of both.
        decoder: any module from z to what the likelihood reads; default an `MLP`.
        likelihood: ``"bernoulli"``, ``"bernoulli_grey"``, ``"gaussian"``, ``"gaussian_fixed"`` or such a `Likelihood`.
        hidden: widths of the default networks' hidden layers (the decoder's in reverse).
        activation: nonlinearity of the default networks.
        scale: of a Gaussian likelihood, in the units of `x`: the fixed one; a learned one starts at the data's sd.

    Raises:
        ValueError: a size is not positive, an unknown or categorical likelihood or one that does not factorise over
            pixels; `check_data` and `complete` find data or masks of the wrong shape or range.

    References: O. Ivanov, M. Figurnov and D. Vetrov, *Variational Autoencoder with Arbitrary Conditioning*, 2019,
    https://arxiv.org/abs/1806.02382; the bound is that of K. Sohn, H. Lee and X. Yan, *Learning Structured Output
    Representation using Deep Conditional Generative Models*, 2015, https://papers.nips.cc/paper/5775

    Example:
        >>> model = InpaintingVAE(data_shape=64, latent_dim=4, hidden=(32,))
        >>> x, mask = torch.zeros(5, 64), torch.ones(5, 64)
        >>> mask[:, 32:] = 0
        >>> model.complete(x, mask, num_draws=3, seed=0).shape
        torch.Size([3, 5, 64])
    """

    def __init__(
        self,
        data_shape: int | Sequence[int],
        latent_dim: int,
        prior_network: nn.Module | None = None,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        likelihood: str | Likelihood = "bernoulli",
        hidden: Sequence[int] = (200, 200),
        activation: str = "tanh",
        scale: float = 1.0,
    ) -> None:
        if likelihood == "categorical":
            raise ValueError("`likelihood` must be a Bernoulli or a Gaussian one, got 'categorical'.")
        super().__init__(data_shape, likelihood, scale, latent_dim=latent_dim, hidden=hidden)
        self.latent_dim = latent_dim
        if (self.likelihood.feature_shape, self.likelihood.output_shape) != (self.data_shape, self.data_shape):
            raise ValueError("`likelihood` must read one decoder output for each pixel, as Bernoulli and Gaussian do.")
        _check_factorises(self.likelihood)
        pixels, event_dims = math.prod(self.data_shape), (len(self.data_shape), len(self.data_shape))
        if prior_network is None:
            network = MLP((2 * pixels,), (2 * latent_dim,), hidden, activation)
            prior_network = GaussianEncoder(Joined(network, event_dims))
        if encoder is None:
            network = MLP((2 * pixels,), (2 * latent_dim,), hidden, activation)
            encoder = GaussianEncoder(Joined(network, event_dims))
        if decoder is None:
            decoder = MLP((latent_dim,), self.data_shape, tuple(hidden)[::-1], activation)
        check_image_network("decoder", decoder, self.likelihood, latent_dim)
        self.prior_network, self.encoder, self.decoder = prior_network, encoder, decoder

    def model(self, x: Tensor | None = None, *, mask: Tensor) -> Tensor:  # type: ignore[override]
        nothing = torch.zeros_like(mask)
        image, mask = (nothing, nothing) if x is None else (x, mask)
        with pyro.plate("data", len(mask)):
            # p(z | seen pixels, mask)
            z = pyro.sample("z", self.prior(image, mask))
            # p(hidden pixels | z): the seen ones do not count
            pixels = self.likelihood(self.decoder(z)).base_dist.mask(mask < 0.5)
            return pyro.sample("x", pixels.to_event(len(self.data_shape)), obs=x)

    def guide(self, x: Tensor, mask: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            # q(z | x, mask)
            return pyro.sample("z", self._gaussian("encoder", self.likelihood.features(x), mask))

    @takes_data
    def prior(self, x: Tensor, mask: Tensor) -> dist.Independent:
        """p(z | seen pixels, mask), batch shape ``(B,)`` and event shape ``(L,)``; hidden values are not read."""
        seen = torch.where(mask > 0.5, self.likelihood.features(x), torch.zeros_like(x))
        return self._gaussian("prior_network", seen, mask)

    @takes_data
    def decode(self, z: Tensor) -> Tensor:
        """Mean of `x` given the latent ``(..., L)``."""
        return self.likelihood.mean(self.decoder(z))

    @torch.no_grad()
    @takes_data
    def complete(
        self, x: Tensor, mask: Tensor, num_draws: int = 1, *, seed: int | None = None, noise: bool = False
    ) -> Tensor:
        r"""Draw completions :math:`z \sim p(z \mid s, m)`, hidden pixels from :math:`p(x \mid z)`; seen ones are kept.

        Args:
            x: ``(B, *data_shape)``; the values of hidden pixels are not read and may be NaN.
            mask: ``(B, *data_shape)``, 1 seen and 0 hidden.
            num_draws: number of completions of each datum; their mean estimates E[hidden | seen].
            seed: makes the draws repeatable; the caller's random state is then left as it was.
            noise: draw the hidden pixels, instead of taking their means given z.

        Returns:
            ``(num_draws, B, *data_shape)``, in the model's precision.

        Raises:
            ValueError: data or mask of the wrong shape or range, or `num_draws` is not positive.
        """
        check_count("num_draws", num_draws, "completions")
        self._check_mask(mask)
        if x.shape != mask.shape:
            raise ValueError(f"`mask` must have the shape of `x`, {tuple(x.shape)}, got {tuple(mask.shape)}.")
        seen = torch.where(mask > 0.5, x, torch.zeros_like(x))
        self.likelihood.check("x", seen)
        with torch.random.fork_rng(enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            output = self.decoder(self.prior(seen, mask).sample((num_draws,)).flatten(0, 1))
            drawn = self.likelihood(output).sample() if noise else self.likelihood.mean(output)
        return torch.where(mask > 0.5, seen, drawn.unflatten(0, (num_draws, len(x))))

    @takes_data
    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the mean of q(z | x) with every pixel seen: ``(B, *data_shape)``."""
        return self.decode(self.encoder(self.likelihood.features(x), torch.ones_like(x))[0])

    def _check_mask(self, mask: Tensor) -> None:
        if tuple(mask.shape[1:]) != self.data_shape:
            expected = ", ".join(["N", *map(str, self.data_shape)])
            raise ValueError(
                f"`mask` must have shape ({expected}), one number for each pixel, got {tuple(mask.shape)}. Expand it."
            )
        if len(bad := mask[(mask != 0) & (mask != 1)]):
            raise ValueError(f"`mask` must hold 1 (seen) or 0 (hidden), got {bad[0].item():g}.")

    def check_data(self, x: Tensor | None = None, mask: Tensor | None = None) -> None:  # type: ignore[override]
        if mask is not None:
            self._check_mask(mask)
        super().check_data(x)


@torch.no_grad()
def _check_factorises(likelihood: Likelihood) -> None:
    """Raise unless the pixels are independent given the decoder's output, so that the hidden ones stand alone."""
    like = next(likelihood.parameters(), torch.zeros(()))
    law = likelihood(like.new_zeros(1, *likelihood.data_shape))
    if not isinstance(law, dist.Independent) or law.base_dist.batch_shape != (1, *likelihood.data_shape):
        raise ValueError(
            "`likelihood` must factorise over pixels, so that the hidden ones can be scored without the seen ones; "
            f"`{type(likelihood).__name__}` is a distribution of the whole image. Use a Bernoulli or a Gaussian one."
        )
