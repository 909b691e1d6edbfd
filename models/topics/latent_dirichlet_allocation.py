"""Latent Dirichlet allocation: documents as mixtures of topics, the topic of each word summed out."""

from __future__ import annotations

__all__ = ["LatentDirichletAllocation"]

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..autoencoders.parts.networks import MLP
from ..common.takes_data import takes_data
from ..common.validation import check_choice, check_positive
from ..distributions.row_multinomial import RowMultinomial
from .base import TopicModel, check_columns, read_documents
from .document_factor import expected_log
from .initialization import document_start
from .lda_cavi import LDACoordinates


class LatentDirichletAllocation(TopicModel):
    r"""Latent Dirichlet allocation of word counts.

    .. math::
        \beta_k \sim \mathrm{Dirichlet}(\eta 1_V), \quad \theta_n \sim \mathrm{Dirichlet}(\alpha 1_K), \quad
        x_n \mid \theta_n, \beta \sim \mathrm{Multinomial}(T_n, \theta_n^\top \beta).

    Each word's topic is summed out, which is what makes :math:`\theta_n^\top \beta` the words' probabilities.

    ==================  ======================================  ==============================
    symbol              meaning                                 argument or site
    ==================  ======================================  ==============================
    :math:`x`           counts, ``(N, V)``                      ``x`` (drawn if None)
    :math:`T`           words of a document                     its own; ``total_count`` where drawn
    :math:`\beta`       topics, ``(K, V)``, global              site ``topics``
    :math:`\theta`      shares of the topics, ``(N, K)``        site ``proportions``
    :math:`\alpha`      concentration of the shares             ``alpha``
    :math:`\eta`        concentration of the topics             ``eta``
    ==================  ======================================  ==============================

    **Fits.** `CAVI` (with `batch_size`: online LDA) is the method of choice; its factors are in ``fit.guide``, and
    the model has their topics. ``CAVI(...).fit(fit.model, new)`` goes on with new documents. Under `SVI` the model's
    own guide is

    .. math:: q(\beta_k) = \mathrm{Dirichlet}(\eta + e^{\rho_k}), \qquad
        q(\theta_n) = \mathrm{Dirichlet}(\alpha + T_n s(x_n)),

    with free :math:`\rho`, and :math:`s` on the simplex: the softmax of a network, or ten rounds of CAVI's fixed point
    at the present :math:`q(\beta)`. Both cost nothing per document, so that mini-batches and new documents are fine.
    With `encoder=None`, `SVI(guide="normal")` gives each document parameters of its own, a logistic normal, on the full
    batch.

    Args:
        num_topics: K.
        num_words: V, the size of the vocabulary.
        alpha: above 0; small: few topics a document.
        eta: above 0; small: few words a topic.
        encoder: ``"fixed point"`` or ``"network"``, of the model's own guide; None where another guide is fitted, which
            freezes this one.
        hidden: widths of the network.
        total_count: words of each document that is drawn.

    Raises:
        ValueError: what is not positive, an unknown encoder; `check_data` finds what is no count, or the columns of
            another vocabulary; a fit gets data without a single word.

    References: D. Blei, A. Ng, M. Jordan, *Latent Dirichlet Allocation*, 2003,
    https://www.jmlr.org/papers/v3/blei03a.html; M. Hoffman, D. Blei, F. Bach, *Online Learning for Latent Dirichlet
    Allocation*, 2010, https://papers.nips.cc/paper/3902-online-learning-for-latent-dirichlet-allocation

    Example:
        >>> model = LatentDirichletAllocation(num_topics=3, num_words=50, total_count=40)
        >>> x = model.generate(20, seed=0)["x"]
        >>> guide = model.coordinate_guide({"x": x}, seed=0)
        >>> bool(guide.update({"x": x}) < guide.update({"x": x}))
        True
    """

    ones_topics: Tensor
    ones_words: Tensor

    def __init__(
        self,
        num_topics: int,
        num_words: int,
        alpha: float = 0.1,
        eta: float = 0.1,
        encoder: str | None = "fixed point",
        hidden: Sequence[int] = (100,),
        total_count: int = 100,
    ) -> None:
        super().__init__(num_topics, num_words, total_count)
        check_positive("alpha", alpha)
        check_positive("eta", eta)
        if encoder is not None:
            check_choice("encoder", encoder, ("fixed point", "network"))
        self.alpha, self.eta = alpha, eta
        self.network = MLP((num_words,), (num_topics,), hidden, "softplus") if encoder == "network" else None
        self.log_counts = nn.Parameter(0.1 * torch.randn(num_topics, num_words), requires_grad=encoder is not None)
        self.register_buffer("ones_topics", torch.ones(num_topics), persistent=False)
        self.register_buffer("ones_words", torch.ones(num_topics, num_words), persistent=False)

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        # p(beta)
        topics = pyro.sample("topics", dist.Dirichlet(self.eta * self.ones_words).to_event(1))
        with pyro.plate("data", 1 if x is None else len(x)):
            # p(theta)
            shares = pyro.sample("proportions", dist.Dirichlet(self.alpha * self.ones_topics))
            # p(x | theta, beta)
            probs = (shares @ topics).clamp_min(torch.finfo(topics.dtype).tiny)
            return pyro.sample("x", RowMultinomial(self.total_count, log_probs=probs.log()), obs=x)

    def guide(self, x: Tensor) -> None:
        # q(beta)
        pyro.sample("topics", dist.Dirichlet(self.concentration).to_event(1))
        with pyro.plate("data", len(x)):
            # q(theta | x)
            pyro.sample("proportions", dist.Dirichlet(self.documents(x)))

    @property
    def concentration(self) -> Tensor:
        """Of the guide's factor of the topics, ``(K, V)``."""
        return self.eta + self.log_counts.exp()

    @property
    def topics(self) -> Tensor:
        """Mean of each topic under the model's own guide, ``(K, V)``; after `CAVI` those that it learned."""
        concentration = self.concentration.detach()
        return concentration / concentration.sum(-1, keepdim=True)

    @takes_data
    def documents(self, x: Tensor) -> Tensor:
        """Concentration of the guide's factor of each document, ``(N, K)``."""
        check_columns("x", x, self.num_words)
        totals = x.sum(-1, keepdim=True)
        if self.network is not None:
            return self.alpha + totals * self.network(x.log1p()).softmax(-1)  # type: ignore[no-any-return]
        logs = expected_log(self.concentration.detach())
        words = (logs - logs.max(0).values).exp()
        gamma = self.alpha + totals / self.num_topics * self.ones_topics
        for _ in range(10):
            weights = expected_log(gamma).exp()
            ratio = x / (weights @ words).clamp_min(torch.finfo(words.dtype).tiny)
            gamma = self.alpha + weights * (ratio @ words.mT)
        return gamma

    def proportions(self, x: Any) -> Tensor:
        """Mean of each document's shares under the model's own guide, ``(N, K)``.

        After `CAVI` they are those of ten rounds at the topics that it learned; ``fit.guide.proportions`` goes on until
        they no longer move. A network of `encoder` is not trained by `CAVI`.
        """
        gamma = self.documents(read_documents("x", x, self.num_words, self.log_counts))
        return gamma / gamma.sum(-1, keepdim=True)

    @torch.no_grad()
    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Start the guide's topics at clusters of the documents."""
        self.log_counts.copy_((document_start(batch["x"].to(self.log_counts), self.num_topics, seed) + 0.1).log())

    def coordinate_guide(self, data: Mapping[str, Any], seed: int) -> LDACoordinates:
        """A start for `CAVI`: each topic at the words of a cluster of documents; of a fitted model, its own factor."""
        x = read_documents("x", data["x"], self.num_words, self.log_counts)
        if self.fitted:
            return LDACoordinates(self.concentration.detach(), self.alpha, self.eta)
        start = document_start(x, self.num_topics, seed)
        return LDACoordinates(self.eta + start, self.alpha, self.eta)
