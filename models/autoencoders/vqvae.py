"""The vector-quantised autoencoder: each datum as a few codes of one codebook. It has a loss, not an evidence."""

from __future__ import annotations

__all__ = ["VQVAE"]

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..common.takes_data import takes_data
from ..common.validation import check_positive
from .base import Autoencoder
from .parts.likelihoods import Likelihood
from .parts.networks import MLP
from .parts.vector_quantizer import VectorQuantizer, perplexity

_DISTANCES = 2**24  # to codes, held at a time when many data are encoded: 64 MB of float32


class VQVAE(Autoencoder):
    r"""Vector-quantised autoencoder.

    Each datum is M codes of a codebook of K vectors. With :math:`u_{nm} = f_\phi(x_n)_m` and :math:`e_k` the codes,

    .. math::
        k_{nm} = \arg\min_k \|u_{nm} - e_k\|, \qquad
        \ell_n = -\log p(x_n \mid h_\theta(e_{k_n})) + \sum_m \Big(
        \big\|\mathrm{sg}[u_{nm}] - e_{k_{nm}}\big\|^2 + \beta \big\|u_{nm} - \mathrm{sg}[e_{k_{nm}}]\big\|^2 \Big),

    sg stopping gradients; the first square is left out where the codebook follows moving averages.

    **The loss** :math:`\ell` **bounds no evidence**: the codes are a deterministic function of the datum, and the
    squares are no log densities. So `model` refuses data, evidences and bounds of it are errors, and its fits are by
    `jensen.inference.LossMinimization`. What `generate` draws from is the frequencies with which each place used each
    code in the training data (`count_codes`), places independent: a poor model of whole images.

    =====================  ===================================================  ==========================
    symbol                 meaning                                              argument or site
    =====================  ===================================================  ==========================
    :math:`x`              data, ``(N, *data_shape)``                           ``x``
    :math:`k`              codes, ``(N, M)``                                    site ``codes``
    :math:`e`              codebook, ``(K, D)``                                 ``quantizer.codebook``
    :math:`f_\phi`         network ``(B, *feature_shape) -> (B, M, D)``         ``encoder``
    :math:`h_\theta`       network ``(B, M, D) -> (B, *output_shape)``          ``decoder``
    =====================  ===================================================  ==========================

    Args:
        data_shape: event shape of one datum, or its number of features.
        num_codes: K.
        codes_per_datum: M.
        code_dim: D.
        encoder: any module from the features to ``(B, M, D)``; default an `MLP`.
        decoder: any module from ``(B, M, D)`` to what the likelihood reads; default an `MLP`.
        likelihood: as in `VAE`: a name or a `Likelihood`.
        hidden: widths of the default networks' hidden layers (the decoder's in reverse).
        activation: nonlinearity of the default networks.
        scale: of a Gaussian likelihood, in the units of `x`.
        num_categories: of a categorical likelihood.
        commitment: :math:`\beta`.
        decay: of the moving averages that the codebook follows; None for a codebook moved by the gradient.
        restart_below: codes used less than this many times per batch restart; 0 for never.

    Raises:
        ValueError: a size is not positive, an unknown name; data of the wrong shape or range; data given to `model`.

    Reference: A. van den Oord, O. Vinyals and K. Kavukcuoglu, *Neural Discrete Representation Learning*, 2017,
    https://arxiv.org/abs/1711.00937

    Example:
        >>> model = VQVAE(data_shape=64, num_codes=16, codes_per_datum=4, hidden=(32,))
        >>> model.encode(torch.zeros(5, 64)).shape
        torch.Size([5, 4])
    """

    scored_by_loss: ClassVar[bool] = True
    frequencies: Tensor

    def __init__(
        self,
        data_shape: int | Sequence[int],
        num_codes: int,
        codes_per_datum: int,
        code_dim: int = 8,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        likelihood: str | Likelihood = "bernoulli",
        hidden: Sequence[int] = (200,),
        activation: str = "relu",
        scale: float = 1.0,
        num_categories: int | None = None,
        commitment: float = 0.25,
        decay: float | None = 0.99,
        restart_below: float = 0.01,
    ) -> None:
        super().__init__(data_shape, likelihood, scale, num_categories, codes_per_datum=codes_per_datum, hidden=hidden)
        check_positive("commitment", commitment)
        self.codes_per_datum, self.commitment = codes_per_datum, commitment
        self.quantizer = VectorQuantizer(num_codes, code_dim, decay, restart_below)
        shape = (codes_per_datum, code_dim)
        if encoder is None:
            encoder = MLP(self.likelihood.feature_shape, shape, hidden, activation)
        if decoder is None:
            decoder = MLP(shape, self.likelihood.output_shape, tuple(hidden)[::-1], activation)
        self.encoder, self.decoder = encoder, decoder
        self.register_buffer("frequencies", torch.full((codes_per_datum, num_codes), 1.0 / num_codes))

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        if x is not None:
            raise ValueError(
                "`VQVAE` has no evidence and no bound on one: its loss is of its own kind and compares with no other "
                "model's evidence. Fit it by `jensen.inference.LossMinimization`, and score it by `VQVAE.losses`."
            )
        with pyro.plate("data", 1):
            # the frequencies of the codes at each place
            codes = pyro.sample("codes", dist.Categorical(self.frequencies).to_event(1))
            # p(x | codes)
            return pyro.sample("x", self.likelihood(self.decoder(self.quantizer.codebook[codes])))

    @takes_data
    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """The mean loss over the data, ``loss``, and its parts ``reconstruction``, ``commitment`` and ``codebook``.

        Also ``perplexity``, 1 to K, of the use of the codebook. In training mode its averages follow the data.
        """
        parts, codes = self._parts(x)
        return {**parts, "perplexity": perplexity(codes, self.quantizer.num_codes)}

    @torch.no_grad()
    @takes_data
    def validation_losses(self, x: Tensor) -> dict[str, Tensor]:
        """The `losses` of any number of data, worked through in pieces, so that memory does not grow with them."""
        pieces = [(len(rows) / len(x), *self._parts(rows)) for rows in self._pieces(x)]
        parts = {name: torch.stack([share * part[name] for share, part, _ in pieces]).sum(0) for name in pieces[0][1]}
        codes = torch.cat([codes for _, _, codes in pieces])
        return {**parts, "perplexity": perplexity(codes, self.quantizer.num_codes)}

    def _parts(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The means over `x`, and its codes."""
        u = self.encoder(self.likelihood.features(x))
        # k = argmin |u - e_k|, and the codes e_k of this step, before the averages move
        k, e = self.quantizer(u)
        # -log p(x | e_k)
        parts = {"reconstruction": -self.likelihood(self.decoder(e)).log_prob(x).mean()}
        # beta |u - sg[e_k]|^2
        parts["commitment"] = self.commitment * (u - e.detach()).square().sum((-2, -1)).mean()
        # |sg[u] - e_k|^2
        if self.quantizer.decay is None:
            parts["codebook"] = (u.detach() - self.quantizer.codebook[k]).square().sum((-2, -1)).mean()
        return {"loss": sum(parts.values()), **parts}, k  # type: ignore[dict-item]

    def _pieces(self, x: Tensor) -> tuple[Tensor, ...]:
        """The data as batches of which few enough distances to codes are held at a time."""
        return x.split(min(1_024, max(1, _DISTANCES // self.frequencies.numel())))

    @torch.no_grad()
    @takes_data
    def encode(self, x: Tensor) -> Tensor:
        """The codes, ``(B, M)`` int64."""
        features = self.likelihood.features
        return torch.cat([self.quantizer.nearest(self.encoder(features(rows))) for rows in self._pieces(x)])

    @takes_data
    def decode(self, codes: torch.LongTensor) -> Tensor:
        """Mean of `x` given codes ``(B, M)``; of a categorical the class probabilities."""
        return self.likelihood.mean(self.decoder(self.quantizer.codebook[codes]))

    @takes_data
    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode the codes of `x`: ``(B, *data_shape)``."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    @takes_data
    def count_codes(self, x: Tensor) -> None:
        """Set the frequencies that `generate` draws from to those of these data (plus 1/K of one more datum)."""
        codes, num = self.encode(x), self.quantizer.num_codes
        places = num * torch.arange(self.codes_per_datum, device=codes.device)
        used = torch.bincount((codes + places).flatten(), minlength=self.frequencies.numel())
        self.frequencies.copy_((used.view_as(self.frequencies) + 1 / num) / (len(x) + 1))

    @torch.no_grad()
    @takes_data
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start likelihood and decoder bias at the data's marginal, and the codebook at encoded data."""
        super().initialize(batch, seed)
        x = batch["x"]
        vectors = torch.cat([self.encoder(self.likelihood.features(rows)) for rows in self._pieces(x)])
        self.quantizer.start(vectors.flatten(0, -2), seed)

    def finish(self, batch: Mapping[str, Tensor]) -> None:
        """What `LossMinimization` calls at the end of a fit, with its training data."""
        self.count_codes(batch["x"])
