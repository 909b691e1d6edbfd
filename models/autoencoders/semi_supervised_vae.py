"""The semi-supervised variational autoencoder (M2): a class and a Gaussian latent, the class known for some data."""

from __future__ import annotations

__all__ = ["SemiSupervisedVAE"]

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..common.takes_data import takes_data
from ..common.validation import check_labels
from .base import Autoencoder
from .parts.labelled_networks import LabelledMLP
from .parts.likelihoods import Likelihood
from .parts.networks import MLP, GaussianEncoder
from .parts.priors import StandardNormal


class SemiSupervisedVAE(Autoencoder):
    r"""Semi-supervised variational autoencoder, the M2 of Kingma et al.

    .. math::
        y_n \sim \mathrm{Categorical}(1/C), \quad z_n \sim \mathcal N(0, I_L), \quad
        x_n \mid y_n, z_n \sim p(\cdot \mid h_\theta(y_n, z_n)), \qquad
        q_\phi(y, z \mid x) = q_\phi(y \mid x)\, \mathcal N(z; \mu_\phi(x, y), \operatorname{diag} \sigma_\phi(x, y)^2).

    Some labels are seen. A datum without one has the evidence :math:`\log p(x)`, a datum with one :math:`\log p(x, y)`:
    the site ``label`` says that what is seen of `y` is `y`. The guide puts all its mass on a label that is seen, and
    the sum over the classes is exact, so both of the paper's bounds come out of one expression:

    .. math:: \mathcal L(x, y) = E_{q(z|x,y)} \Big[\log \frac{p(y)\, p(z)\, p(x|y,z)}{q(z|x,y)}\Big], \qquad
        \mathcal U(x) = \sum_y q(y|x)\, \mathcal L(x, y) + H[q(y|x)].

    Labelled data train :math:`q(y|x)` only through the term that the objective adds (equation 9 of the paper),

    .. math:: \alpha \, \frac1{N_l} \sum_{n \text{ labelled}} -\log q(y_n | x_n), \quad \alpha = 0.1 N:
        \quad \text{fit with } \texttt{SVI(AuxiliaryELBO(weight=0.1))}.

    =====================  ==================================================  ==========================
    symbol                 meaning                                             argument or site
    =====================  ==================================================  ==========================
    :math:`x`              data, ``(N, *data_shape)``                          ``x`` (drawn if None)
    :math:`y`              class, ``(N,)``, local; -1 where it is missing      ``y``; sites ``y``, ``label``
    :math:`z`              latent, ``(N, L)``, local                           site ``z``
    :math:`h_\theta`       network of z and one-hot y                          ``decoder``
    :math:`\mu,\sigma`     network of x and one-hot y ``-> two (..., L)``      ``encoder``
    :math:`q(y|x)`         network ``(B, *feature_shape) -> (B, C)`` log-odds  ``classifier``
    :math:`N_l / N`        share of labelled data (from the data of the fit)   ``labelled_fraction``
    =====================  ==================================================  ==========================

    Args:
        data_shape: event shape of one datum, or its number of features.
        num_classes: C.
        latent_dim: L.
        encoder: any module ``(x, y) -> (location, positive scale)``; `y` is one-hot, and the leading shapes of `x`
            ``(B,)`` and `y` ``(C, 1)`` or ``(B,)`` broadcast. Default `LabelledMLP`.
        decoder: any module ``(z, y) -> (..., *likelihood.output_shape)``, likewise. Default `LabelledMLP`.
        classifier: any module that maps features to log-odds of the classes; default `MLP`.
        likelihood: ``"bernoulli"``, ``"bernoulli_grey"``, ``"gaussian"`` (learned scale per feature),
            ``"gaussian_fixed"``, ``"categorical"``, or a `Likelihood`.
        hidden: widths of the default networks' hidden layers (the decoder's in reverse).
        activation: nonlinearity of the default networks.
        scale: of a Gaussian likelihood, in the units of `x`: the fixed one; a learned one starts at the data's sd.
        num_categories: of a categorical likelihood: the number of codes.
        labelled_fraction: :math:`N_l / N`; None takes it from the data when a fit starts.

    Raises:
        ValueError: a size is not positive, fewer than two classes, an unknown name; labels outside {-1, ..., C - 1}; a
            fit to data without a single label; data of the wrong shape or range.

    Reference: D. Kingma, D. Rezende, S. Mohamed and M. Welling, *Semi-supervised Learning with Deep Generative Models*,
    2014, https://arxiv.org/abs/1406.5298

    Example:
        >>> model = SemiSupervisedVAE(data_shape=64, num_classes=10, latent_dim=2, hidden=(32,))
        >>> model.generate(3, seed=0, y=torch.tensor([7, 7, -1]))["y"][:2]
        tensor([7, 7])
        >>> model.classify(torch.zeros(5, 64)).shape
        torch.Size([5, 10])
    """

    unlabelled: ClassVar[tuple[str, ...]] = ("y",)
    eye: Tensor
    uniform: Tensor
    labelled_fraction: Tensor

    def __init__(
        self,
        data_shape: int | Sequence[int],
        num_classes: int,
        latent_dim: int,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        classifier: nn.Module | None = None,
        likelihood: str | Likelihood = "bernoulli",
        hidden: Sequence[int] = (500,),
        activation: str = "softplus",
        scale: float = 1.0,
        num_categories: int | None = None,
        labelled_fraction: float | None = None,
    ) -> None:
        super().__init__(data_shape, likelihood, scale, num_categories, latent_dim=latent_dim, hidden=hidden)
        if num_classes < 2:
            raise ValueError(f"`num_classes` must be at least 2, got {num_classes!r}. For one class use `VAE`.")
        if labelled_fraction is not None and not 0 < labelled_fraction <= 1:
            raise ValueError(f"`labelled_fraction` must be in (0, 1] or None, got {labelled_fraction!r}.")
        self.num_classes, self.latent_dim = num_classes, latent_dim
        features, width = self.likelihood.feature_shape, tuple(hidden)
        if encoder is None:
            encoder = GaussianEncoder(LabelledMLP(features, num_classes, (2 * latent_dim,), width, activation))
        if decoder is None:
            shape = self.likelihood.output_shape
            decoder = LabelledMLP((latent_dim,), num_classes, shape, width[::-1], activation)
        if classifier is None:
            classifier = MLP(features, (num_classes,), width, activation)
        self.encoder, self.decoder, self.classifier = encoder, decoder, classifier
        self.prior = StandardNormal(latent_dim)
        self.register_buffer("eye", torch.eye(num_classes), persistent=False)
        self.register_buffer("uniform", torch.zeros(num_classes), persistent=False)
        self.register_buffer("labelled_fraction", torch.tensor(labelled_fraction or 1.0))

    def model(self, x: Tensor | None = None, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        given = y if x is None else x
        with pyro.plate("data", 1 if given is None else len(given)):
            # p(y); where x is drawn too, a class that is given is held
            prior = _class_given(self.uniform, y if x is None else None)
            c = pyro.sample("y", prior, infer={"enumerate": "parallel"})
            # p(label | y): a label that is seen is y
            if x is not None and y is not None:
                pyro.sample("label", dist.Delta(c.to(y.dtype)).mask(y >= 0), obs=y)
            # p(z)
            z = pyro.sample("z", self.prior())
            # p(x | y, z)
            return pyro.sample("x", self.likelihood(self.decoder(z, self.eye[c.long()])), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        features = self.likelihood.features(x)
        with pyro.plate("data", len(x)):
            # q(y | x), all mass on a label that is seen
            posterior = _class_given(self.classifier(features), y)
            c = pyro.sample("y", posterior, infer={"enumerate": "parallel"})
            # q(z | x, y)
            return pyro.sample("z", self._gaussian("encoder", features, self.eye[c.long()]))

    @takes_data
    def auxiliary_loss(self, x: Tensor, y: Tensor) -> Tensor:
        r"""The classifier's loss per datum, ``(B,)``: :math:`-\log q(y|x) \, N / N_l` where `y` is seen, else 0."""
        logits = self.classifier(self.likelihood.features(x))
        return cross_entropy(logits, y.long(), ignore_index=-1, reduction="none") / self.labelled_fraction

    @takes_data
    def classify(self, x: Tensor) -> Tensor:
        """:math:`q(y|x)`, the probabilities of the classes: ``(B, C)``."""
        return self.classifier(self.likelihood.features(x)).softmax(-1)

    @takes_data
    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        """`classify` of ``data["x"]``, whatever labels are seen: ``(N, C)``."""
        return self.classify(data["x"])

    @takes_data
    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Mean of `x` given latents ``(..., L)`` and classes ``(...)``; of a categorical the class probabilities."""
        return self.likelihood.mean(self.decoder(z, self.eye[y.long()]))

    @takes_data
    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of q(z | x, y), each ``(B, L)``, for classes ``(B,)``."""
        loc, scale = self.encoder(self.likelihood.features(x), self.eye[y.long()])
        return loc, scale

    def check_data(self, x: Tensor | None = None, y: Tensor | None = None) -> None:  # type: ignore[override]
        super().check_data(x)
        if y is not None:
            check_labels("y", y, self.num_classes, missing=True)

    @torch.no_grad()
    def prepare(self, batch: Mapping[str, Tensor]) -> None:
        """Note the share of labelled data, unless it was given.

        Raises:
            ValueError: not one datum is labelled.
        """
        y = batch.get("y")
        if y is None or self.init_arguments["labelled_fraction"] is None:
            if y is None or not bool((y >= 0).any()):
                raise ValueError(
                    "`y` must hold at least one label, got none (-1 stands for a missing one): nothing would tell "
                    "which class is which. Label some data, or fit a `VAE` or a `GaussianMixture`."
                )
            self.labelled_fraction.copy_((y >= 0).to(self.labelled_fraction.dtype).mean())


def _class_given(logits: Tensor, label: Tensor | None) -> dist.Categorical:
    """The distribution of a class by its log-odds ``(..., C)``; all mass on the label ``(B,)`` where it is not -1."""
    if label is not None:
        label = label.unsqueeze(-1)
        others = torch.arange(logits.shape[-1], device=logits.device) != label
        logits = torch.where((label >= 0) & others, -torch.inf, logits)
    return dist.Categorical(logits=logits)
