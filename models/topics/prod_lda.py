"""ProdLDA: topics multiplied rather than mixed, with an amortised logistic-normal guide."""

from __future__ import annotations

__all__ = ["ProdLDA"]

import math
from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..autoencoders.parts.networks import MLP
from ..common.parameter_scope import evaluating
from ..common.takes_data import takes_data
from ..common.validation import check_positive
from ..distributions.row_multinomial import RowMultinomial
from .base import TopicModel, check_columns, read_documents


class _Norm(nn.BatchNorm1d):
    """Batch norm without a free scale, with which the guide could collapse; a batch of one is left to the averages."""

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=1e-3)
        self.weight.requires_grad_(False)

    def forward(self, value: Tensor) -> Tensor:
        if len(value) > 1:
            return super().forward(value)
        state = self.running_mean, self.running_var, self.weight, self.bias
        return nn.functional.batch_norm(value, *state, eps=self.eps)

    @property
    def deviation(self) -> Tensor:
        """What it divides by outside training."""
        assert self.running_var is not None
        return (self.running_var + self.eps).sqrt()


class _Bias(nn.Module):
    """What is left of batch norm without it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, value: Tensor) -> Tensor:
        return value + self.bias


class ProdLDA(TopicModel):
    r"""Topics as a product of experts.

    .. math::
        z_n \sim \mathcal N(0, \tfrac{1}{\alpha} (1 - \tfrac1K) I_K), \quad \theta_n = \mathrm{softmax}(z_n), \quad
        x_n \mid \theta_n \sim \mathrm{Multinomial}(T_n, \mathrm{softmax}(\mathrm{BN}(\theta_n^\top \beta))),

    with the Laplace approximation, in the softmax basis, of a :math:`\mathrm{Dirichlet}(\alpha)` over
    :math:`\theta`, and :math:`q(z_n) = \mathcal N(\mu(x_n), \operatorname{diag} \sigma(x_n)^2)` by a network.

    ==================  ======================================  ==============================
    symbol              meaning                                 argument, site or attribute
    ==================  ======================================  ==============================
    :math:`x`           counts, ``(N, V)``                      ``x`` (drawn if None)
    :math:`T`           words of a document                     its own; ``total_count`` where drawn
    :math:`z`           shares before the softmax, ``(N, K)``   site ``z``
    :math:`\beta`       free weights of words, ``(K, V)``       ``weights``
    :math:`\alpha`      concentration of the shares             ``alpha``
    :math:`\mu,\sigma`  networks of log(1 + x)                  ``encoder``, ``loc``, ``log_variance``
    BN                  batch norm over documents, no scale     ``norm``
    ==================  ======================================  ==============================

    A word's weights are not probabilities: a document is likely that all its topics agree on. Batch norm makes a
    document's density depend on its batch while the model trains; afterwards running averages hold, and scores are
    those of a proper model. Draws from a model that was never fitted are made at the start's averages.

    Args:
        num_topics: K, at least 2.
        num_words: V, the size of the vocabulary.
        alpha: above 0; small: few topics a document.
        hidden: widths of the encoder.
        dropout: share of the encoder's last features, and of the topics, that a training step leaves out.
        total_count: words of each document that is drawn.
        batch_norm: whether to normalise; without, only the biases are left, and the objectives of many particles
            (`IWAE`) are vectorised, which running averages prevent.

    Raises:
        ValueError: what is not positive, K below 2, `dropout` not in [0, 1); `check_data` finds what is no count, or
            the columns of another vocabulary; a fit gets data without a single word.

    Reference: A. Srivastava and C. Sutton, *Autoencoding Variational Inference for Topic Models*, 2017,
    https://arxiv.org/abs/1703.01488

    Example:
        >>> model = ProdLDA(num_topics=3, num_words=50, total_count=40)
        >>> model.generate(20, seed=0)["x"].shape
        torch.Size([20, 50])
    """

    zeros: Tensor
    scale: Tensor

    def __init__(
        self,
        num_topics: int,
        num_words: int,
        alpha: float = 1.0,
        hidden: Sequence[int] = (100, 100),
        dropout: float = 0.6,
        total_count: int = 100,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(num_topics, num_words, total_count)
        check_positive("alpha", alpha)
        if num_topics < 2:
            raise ValueError(f"`num_topics` must be at least 2 for a logistic normal, got {num_topics}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1), got {dropout!r}.")
        self.alpha = alpha
        self.encoder = MLP((num_words,), (hidden[-1],), hidden[:-1], "softplus")
        self.loc, self.log_variance = (nn.Linear(hidden[-1], num_topics) for _ in range(2))
        norm = _Norm if batch_norm else _Bias
        self.loc_norm, self.log_variance_norm, self.norm = norm(num_topics), norm(num_topics), norm(num_words)
        self.encoder_dropout, self.dropout = nn.Dropout(dropout), nn.Dropout(dropout)
        self.weights = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_topics, num_words)))
        self.register_buffer("zeros", torch.zeros(num_topics), persistent=False)
        deviation = math.sqrt((1 - 1 / num_topics) / alpha)
        self.register_buffer("scale", torch.full((num_topics,), deviation), persistent=False)

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(z)
            z = pyro.sample("z", dist.Normal(self.zeros, self.scale).to_event(1))
            # p(x | z)
            return pyro.sample("x", RowMultinomial(self.total_count, log_probs=self.log_probs(z)), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            # q(z | x)
            pyro.sample("z", dist.Normal(*self.encode(x)).to_event(1))

    @takes_data
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the guide, each ``(N, K)``; the prior's for a document without words."""
        check_columns("x", x, self.num_words)
        features = self.encoder_dropout(nn.functional.softplus(self.encoder(x.log1p())))
        loc = self.loc_norm(self.loc(features))
        log_variance = self.log_variance_norm(self.log_variance(features))
        empty = x.sum(-1, keepdim=True) == 0
        return torch.where(empty, self.zeros, loc), torch.where(empty, self.scale, (0.5 * log_variance).exp())

    @takes_data
    def log_probs(self, z: Tensor) -> Tensor:
        """Log probabilities of the words, ``(N, V)``, given ``(N, K)``."""
        if z.shape[-1] != self.num_topics:
            raise ValueError(
                f"`z` must have shape (N, {self.num_topics}), one column for each topic, got {tuple(z.shape)}. Pass "
                "shares before the softmax, or documents to `word_probs`."
            )
        shares = self.dropout(z.softmax(-1))
        return self.norm(shares @ self.weights).log_softmax(-1)

    @property
    def topics(self) -> Tensor:
        r"""Each topic's weight of each word as batch norm scales it, ``(K, V)``; larger is likelier, none is normal."""
        weights = self.weights.detach()
        return weights / self.norm.deviation if isinstance(self.norm, _Norm) else weights

    def proportions(self, x: Any) -> Tensor:
        """Each document's shares of the topics, ``(N, K)``: the softmax of the guide's mean, in evaluation mode."""
        with evaluating(self):
            return self._mean(x).softmax(-1)

    def word_probs(self, x: Any) -> Tensor:
        """Probabilities of the words of more text like each document, ``(N, V)``, at the guide's mean.

        In evaluation mode; arguments and errors as of :meth:`proportions`.
        """
        with evaluating(self):
            return self.log_probs(self._mean(x)).exp()

    def _mean(self, x: Any) -> Tensor:
        return self.encode(read_documents("x", x, self.num_words, self.weights))[0]
