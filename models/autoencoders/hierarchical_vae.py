"""The variational autoencoder with two stochastic layers, as in the importance weighted autoencoders' paper."""

from __future__ import annotations

__all__ = ["HierarchicalVAE"]

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
from torch import Tensor

from ..common.takes_data import takes_data
from .base import Autoencoder
from .parts.likelihoods import Likelihood
from .parts.networks import MLP, GaussianEncoder
from .parts.priors import StandardNormal


class HierarchicalVAE(Autoencoder):
    r"""Variational autoencoder with two stochastic layers.

    .. math::
        z_{2n} \sim \mathcal N(0, I), \quad z_{1n} \mid z_{2n} \sim \mathcal N(m_\theta(z_{2n}),
        \operatorname{diag} s_\theta(z_{2n})^2), \quad x_n \mid z_{1n} \sim p(\cdot \mid h_\theta(z_{1n})), \qquad
        q_\phi(z_1, z_2 \mid x) = q_\phi(z_1 \mid x)\, q_\phi(z_2 \mid z_1).

    ====================  =======================================  ==========================
    symbol                meaning                                  argument or site
    ====================  =======================================  ==========================
    :math:`x`             data, ``(N, *data_shape)``               ``x`` (drawn if None)
    :math:`z_1`           lower latent, ``(N, L1)``, local         site ``z1``
    :math:`z_2`           upper latent, ``(N, L2)``, local         site ``z2``
    :math:`m, s`          network ``(B, L2) -> two (B, L1)``       ``lower_prior``
    :math:`h_\theta`      network ``(B, L1) -> output_shape``      ``decoder``
    :math:`q(z_1|x)`      Gaussian, diagonal                       ``encoder``
    :math:`q(z_2|z_1)`    Gaussian, diagonal                       ``upper_encoder``
    ====================  =======================================  ==========================

    Args:
        data_shape: event shape of one datum, or its number of features.
        latent_dims: ``(L1, L2)``, from the data upwards.
        likelihood: a name of `VAE`'s, or a `Likelihood`.
        hidden: widths of the hidden layers between the data and :math:`z_1`, towards the latent.
        upper_hidden: widths of the hidden layers between :math:`z_1` and :math:`z_2`, upwards.
        activation: nonlinearity of the networks.
        scale: of a Gaussian likelihood, in the units of `x`.
        num_categories: of a categorical likelihood: the number of codes.

    Raises:
        ValueError: a size is not positive, not two latent dimensions; `check_data` finds the wrong shape or range.

    Reference: Y. Burda, R. Grosse and R. Salakhutdinov, *Importance Weighted Autoencoders*, 2016,
    https://arxiv.org/abs/1509.00519

    Example:
        >>> model = HierarchicalVAE(data_shape=64, latent_dims=(8, 2), hidden=(32,), upper_hidden=(16,))
        >>> model.generate(5, seed=0)["x"].shape
        torch.Size([5, 64])
    """

    def __init__(
        self,
        data_shape: int | Sequence[int],
        latent_dims: Sequence[int] = (100, 50),
        likelihood: str | Likelihood = "bernoulli",
        hidden: Sequence[int] = (200, 200),
        upper_hidden: Sequence[int] = (100, 100),
        activation: str = "tanh",
        scale: float = 1.0,
        num_categories: int | None = None,
    ) -> None:
        if len(latent_dims) != 2:
            raise ValueError(f"`latent_dims` must be two sizes (L1, L2), from the data upwards, got {latent_dims!r}.")
        widths = {"latent_dims": tuple(latent_dims), "hidden": hidden, "upper_hidden": upper_hidden}
        super().__init__(data_shape, likelihood, scale, num_categories, **widths)
        lower, upper = latent_dims
        self.latent_dim = upper  # of what `embed` gives and `decode_upper` takes
        self.prior = StandardNormal(upper)
        self.encoder = GaussianEncoder(MLP(self.likelihood.feature_shape, (2 * lower,), hidden, activation))
        self.upper_encoder = GaussianEncoder(MLP((lower,), (2 * upper,), upper_hidden, activation))
        self.lower_prior = GaussianEncoder(MLP((upper,), (2 * lower,), tuple(upper_hidden)[::-1], activation))
        self.decoder = MLP((lower,), self.likelihood.output_shape, tuple(hidden)[::-1], activation)

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(z2)
            z2 = pyro.sample("z2", self.prior())
            # p(z1 | z2)
            z1 = pyro.sample("z1", dist.Normal(*self.lower_prior(z2)).to_event(1))
            # p(x | z1)
            return pyro.sample("x", self.likelihood(self.decoder(z1)), obs=x)

    def guide(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with pyro.plate("data", len(x)):
            # q(z1 | x)
            z1 = pyro.sample("z1", dist.Normal(*self.encode(x)).to_event(1))
            # q(z2 | z1)
            z2 = pyro.sample("z2", dist.Normal(*self.upper_encoder(z1)).to_event(1))
            return z1, z2

    @takes_data
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the guide's lower layer, each ``(B, L1)``."""
        return self.encoder(self.likelihood.features(x))

    @takes_data
    def decode(self, z1: Tensor) -> Tensor:
        """Mean of `x` given the lower latent ``(..., L1)``; of a categorical the class probabilities."""
        return self.likelihood.mean(self.decoder(z1))

    @takes_data
    def embed(self, x: Tensor) -> Tensor:
        """One point of the upper layer for each datum, ``(B, L2)``: its guide's mean, given the lower guide's mean."""
        loc: Tensor = self.upper_encoder(self.encode(x)[0])[0]
        return loc

    @takes_data
    def decode_upper(self, z2: Tensor) -> Tensor:
        r"""Mean of `x` given the upper latent's most probable lower one: `decode` of :math:`m_\theta(z_2)`.

        The lower layer's scale is left out, so this is the image at the centre of what :math:`z_2` allows, not
        :math:`E[x \mid z_2]`.

        Args:
            z2: ``(..., L2)``.
        """
        return self.decode(self.lower_prior(z2)[0])

    @takes_data
    def reconstruct(self, x: Tensor, num: int | None = None) -> Tensor:
        """Decode the guide's mean: ``(B, *data_shape)``; with `num`, decode draws of it: ``(num, B, *data_shape)``."""
        loc, scale = self.encode(x)
        return self.decode(loc if num is None else dist.Normal(loc, scale).rsample((num,)))
