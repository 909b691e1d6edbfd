"""The conditional variational autoencoder: a Gaussian latent, decoded together with a label or with covariates."""

from __future__ import annotations

__all__ = ["ConditionalVAE"]

import math
from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..common.inputs import as_tensor
from ..common.takes_data import takes_data
from ..common.validation import check_count, check_features, check_labels, check_size
from .base import Autoencoder
from .parts.labelled_networks import Joined
from .parts.likelihoods import Likelihood
from .parts.networks import MLP, GaussianEncoder
from .parts.priors import StandardNormal


class ConditionalVAE(Autoencoder):
    r"""Conditional variational autoencoder: the distribution of x given y.

    .. math::
        z_n \sim \mathcal N(0, I_L), \quad x_n \mid y_n, z_n \sim p(\cdot \mid h_\theta(z_n, y_n)), \qquad
        q_\phi(z_n \mid x_n, y_n) = \mathcal N(\mu_\phi(x_n, y_n), \operatorname{diag} \sigma_\phi(x_n, y_n)^2),

    or :math:`z_n \mid y_n \sim \mathcal N(m_\theta(y_n), \operatorname{diag} s_\theta(y_n)^2)` with `learned_prior`.
    Nothing is said about the distribution of y: bounds and evidences are those of :math:`\log p(x \mid y)`.

    =====================  =====================================================  ==========================
    symbol                 meaning                                                argument or site
    =====================  =====================================================  ==========================
    :math:`x`              data, ``(N, *data_shape)``                             ``x`` (drawn if None)
    :math:`y`              labels ``(N,)`` or covariates ``(N, P)``, given        ``y``
    :math:`z`              latent, ``(N, L)``, local                              site ``z``
    :math:`h_\theta`       network ``(B, L), (B, P) -> (B, *output_shape)``       ``decoder``
    :math:`\mu,\sigma`     network ``(B, *feature_shape), (B, P) -> two (B, L)``  ``encoder``
    :math:`m, s`           network ``(B, P) -> two (B, L)``                       ``prior_network``
    =====================  =====================================================  ==========================

    The networks see a label as its one-hot code, so that P is the number of classes.

    Args:
        data_shape: event shape of one datum, or its number of features.
        latent_dim: L.
        num_classes: of the labels `y`, integers 0, ..., num_classes - 1; None if `y` are covariates.
        num_covariates: P, the number of real covariates, best in units in which they vary by about one; None if `y` are
            labels.
        encoder: any module that maps (features of x, code of y) to (location, positive scale); default an `MLP`.
        decoder: any module that maps (z, code of y) to what the likelihood reads; default an `MLP`. `z` may have
            dimensions in front that the code lacks.
        likelihood: as in `VAE`: a name or a `Likelihood`.
        hidden: widths of the default networks' hidden layers (the decoder's in reverse).
        activation: nonlinearity of the default networks.
        scale: of a Gaussian likelihood, in the units of `x`: the fixed one; a learned one starts at the data's sd.
        num_categories: of a categorical likelihood: the number of codes.
        learned_prior: whether the prior of `z` depends on `y`, by a network of its own.

    Raises:
        ValueError: a size is not positive, an unknown name, not exactly one of `num_classes` and `num_covariates`;
            `check_data`, `generate` and the methods below find labels out of range or data of the wrong shape.

    Reference: K. Sohn, H. Lee and X. Yan, *Learning Structured Output Representation using Deep Conditional Generative
    Models*, 2015, https://papers.nips.cc/paper/5775

    Example:
        >>> model = ConditionalVAE(data_shape=64, latent_dim=2, num_classes=10, hidden=(32,))
        >>> model.generate(5, y=3, seed=0)["x"].shape
        torch.Size([5, 64])
    """

    one_hot: Tensor

    def __init__(
        self,
        data_shape: int | Sequence[int],
        latent_dim: int,
        num_classes: int | None = None,
        num_covariates: int | None = None,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        likelihood: str | Likelihood = "bernoulli",
        hidden: Sequence[int] = (200, 200),
        activation: str = "tanh",
        scale: float = 1.0,
        num_categories: int | None = None,
        learned_prior: bool = False,
    ) -> None:
        super().__init__(data_shape, likelihood, scale, num_categories, latent_dim=latent_dim, hidden=hidden)
        if (num_classes is None) == (num_covariates is None):
            raise ValueError(
                "Exactly one of `num_classes` (y are labels) and `num_covariates` (y are real) must be given, got "
                f"num_classes={num_classes} and num_covariates={num_covariates}."
            )
        width = num_covariates if num_classes is None else num_classes
        assert width is not None
        check_size("num_classes or num_covariates", width)
        self.latent_dim, self.num_classes, self.code_dim = latent_dim, num_classes, width
        if encoder is None:
            shape = self.likelihood.feature_shape
            network = MLP((math.prod(shape) + width,), (2 * latent_dim,), hidden, activation)
            encoder = GaussianEncoder(Joined(network, event_dims=(len(shape), 1)))
        if decoder is None:
            shape = self.likelihood.output_shape
            decoder = Joined(MLP((latent_dim + width,), shape, tuple(hidden)[::-1], activation), event_dims=(1, 1))
        self.encoder, self.decoder = encoder, decoder
        self.standard_normal = StandardNormal(latent_dim)
        self.prior_network = None
        if learned_prior:
            self.prior_network = GaussianEncoder(MLP((width,), (2 * latent_dim,), hidden, activation))
        self.register_buffer("one_hot", torch.eye(width if num_classes else 0), persistent=False)

    def model(self, x: Tensor | None = None, *, y: Tensor) -> Tensor:  # type: ignore[override]
        code = self.code(y)
        with pyro.plate("data", len(y)):
            # p(z | y)
            prior = self.standard_normal() if self.prior_network is None else self._gaussian("prior_network", code)
            z = pyro.sample("z", prior)
            # p(x | y, z)
            return pyro.sample("x", self.likelihood(self.decoder(z, code)), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> Tensor:
        with pyro.plate("data", len(y)):
            # q(z | x, y)
            return pyro.sample("z", self._gaussian("encoder", self.likelihood.features(x), self.code(y)))

    @takes_data
    def code(self, y: Tensor) -> Tensor:
        """What the networks see of `y`: one-hot labels, or the covariates; ``(N, P)``."""
        return y if self.num_classes is None else self.one_hot[y.long()]

    @takes_data
    def encode(self, x: Tensor, y: Any) -> tuple[Tensor, Tensor]:
        """Location and scale of the guide, each ``(B, L)``; `y` as in `generate`."""
        loc, scale = self.encoder(self.likelihood.features(x), self.code(self._rows(y, len(x))))
        return loc, scale

    @takes_data
    def decode(self, z: Tensor, y: Any) -> Tensor:
        """Mean of `x` given the latent ``(..., B, L)`` and `y` (as in `generate`); of a categorical its probabilities.

        The same latent under other labels shows what the label alone changes: a style that is kept.
        """
        return self.likelihood.mean(self.decoder(z, self.code(self._rows(y, z.shape[-2]))))

    @takes_data
    def reconstruct(self, x: Tensor, y: Any, num: int | None = None) -> Tensor:
        """Decode the guide's mean: ``(B, *data_shape)``; with `num`, decode draws: ``(num, B, *data_shape)``."""
        loc, scale = self.encode(x, y)
        return self.decode(loc if num is None else dist.Normal(loc, scale).rsample((num,)), y)

    def generate(self, num: int, *, seed: int | None = None, **inputs: Any) -> dict[str, Tensor]:
        """Draw `num` data given `y`: ``(num,)`` labels or ``(num, P)`` covariates, or one for all of them.

        Raises:
            ValueError: as `LatentVariableModel.generate`; a label out of range.
        """
        check_count("num", num, "data to draw")
        if "y" in inputs:
            inputs["y"] = self._rows(inputs["y"], num)
        return super().generate(num, seed=seed, **inputs)

    def _rows(self, y: Any, num: int) -> Tensor:
        """`y` checked; one label or one vector of covariates is repeated for `num` rows."""
        like = next(self.parameters())
        y = as_tensor("y", y, like)
        if y.ndim == (0 if self.num_classes is not None else 1):
            y = y.expand(num, *y.shape)
        self._check_y(y)
        if len(y) != num:
            raise ValueError(
                f"`y` must have one row for each of the {num} data, or be a single one, got {len(y)} rows."
            )
        return y

    def _check_y(self, y: Tensor) -> None:
        if self.num_classes is None:
            check_features("y", y, self.code_dim, "num_covariates")
        else:
            check_labels("y", y, self.num_classes)

    def check_data(self, x: Tensor | None = None, y: Tensor | None = None) -> None:  # type: ignore[override]
        if y is not None:
            self._check_y(y)
        super().check_data(x)
