"""Batch and online coordinate ascent for latent Dirichlet allocation."""

from __future__ import annotations

__all__ = ["LDACoordinates", "document_factor", "expected_log"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from .coordinate_guide import CoordinateGuide
from .sparse_counts import SparseCounts
from .topic_model import check_documents, top_words


def expected_log(concentration: Tensor) -> Tensor:
    r""":math:`\mathbb E \log \theta` of a Dirichlet over the last dimension."""
    return concentration.digamma() - concentration.sum(-1, keepdim=True).digamma()


def document_factor(
    counts: SparseCounts,
    words: Tensor,
    alpha: float,
    iterations: int = 200,
    tolerance: float | None = None,
    spread: bool = True,
) -> Tensor:
    r"""The best :math:`q(\theta_n) = \mathrm{Dirichlet}(\gamma_n)` given the topics, ``(N, K)``, by the fixed point

    .. math:: \gamma_{nk} = \alpha + \sum_v x_{nv} \phi_{nvk}, \qquad
        \phi_{nvk} \propto b_{kv} \exp \mathbb E \log \theta_{nk}.

    Args:
        counts: of the documents.
        words: :math:`b_{kv}`, the words' probabilities or :math:`\exp \mathbb E \log \beta_{kv}`, ``(K, V)``; a
            word's may all be scaled alike.
        alpha: concentration of the prior.
        iterations: the most to make.
        tolerance: stop when no document's :math:`\gamma` moves by more than this on average over topics; None for three
            square roots of the type's resolution, 1e-3 in float32.
        spread: whether to start at all topics alike, or at the one topic that explains the document best.
    """
    if tolerance is None:
        tolerance = 3 * math.sqrt(torch.finfo(words.dtype).eps)
    num_topics = len(words)
    totals = torch.zeros(counts.shape[0], dtype=words.dtype, device=words.device)
    totals = totals.index_add(0, counts.rows, counts.values)
    if spread:
        gamma = (alpha + totals / num_topics)[:, None].expand(-1, num_topics)
    else:
        scores = counts.rows_sum(counts.values, words.clamp_min(torch.finfo(words.dtype).tiny).log())
        gamma = alpha + totals[:, None] * scores.softmax(-1)
    for step in range(iterations):
        weights = expected_log(gamma).exp()
        shares = counts.values / counts.products(weights, words).clamp_min(torch.finfo(words.dtype).tiny)
        before, gamma = gamma, alpha + weights * counts.rows_sum(shares, words)
        if step % 4 == 3 and (gamma - before).abs().mean(-1).max() < tolerance:
            break
    return gamma


class LDACoordinates(CoordinateGuide):
    r"""Dirichlet factors of topics and of documents, with the topics of the words' own factors at their optimum.

    .. math::
        \beta_k \sim \mathrm{Dirichlet}(\lambda_k), \quad \theta_n \sim \mathrm{Dirichlet}(\gamma_n), \qquad
        \lambda_{kv} = \eta + \sum_n x_{nv} \phi_{nvk}.

    The bound is that of the model in which every word has a topic, below the ELBO of `forward`, in which words' topics
    are summed out:

    .. math:: \sum_{nv} x_{nv} \log \sum_k \exp(\mathbb E \log \theta_{nk} + \mathbb E \log \beta_{kv})
        - \sum_n \mathrm{KL}(\theta_n) - \sum_k \mathrm{KL}(\beta_k) + \log \text{orders of the words}.

    `update` makes documents' factors from nothing in each sweep (nothing of the size of the data is kept), then the
    topics', and returns the bound at both. A document's bound has several maxima, so that a document may be found in
    a worse one than in the last sweep; where the bound would fall by that, the better of two starts is taken for each
    document, and if it still would, the topics stay as they are: the ascent has ended. A mini-batch step moves the
    topics part of the way, as online LDA does.

    Args:
        concentration: the start of :math:`\lambda`, ``(K, V)``.
        alpha, eta: concentrations of the priors.
        iterations, tolerance: of the documents' fixed point, see :func:`document_factor`.

    Reference: M. Hoffman, D. Blei, F. Bach, *Online Learning for Latent Dirichlet Allocation*, 2010,
    https://papers.nips.cc/paper/3902-online-learning-for-latent-dirichlet-allocation
    """

    concentration: Tensor
    last: Tensor

    def __init__(
        self,
        concentration: Tensor,
        alpha: float,
        eta: float,
        iterations: int = 200,
        tolerance: float | None = None,
    ) -> None:
        super().__init__()
        self.alpha, self.eta, self.iterations, self.tolerance = alpha, eta, iterations, tolerance
        self.register_buffer("concentration", concentration.clone())
        # the bound after the last sweep, and how many words it is of
        self.register_buffer("last", concentration.new_tensor([-math.inf, 0.0]))
        self._counts: tuple[Tensor, SparseCounts, Tensor] | None = None

    @property
    def topics(self) -> Tensor:
        """Posterior mean of each topic's probabilities of the words, ``(K, V)``."""
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    def proportions(self, x: Tensor) -> Tensor:
        """Posterior mean of each document's shares of the topics, ``(N, K)``.

        Raises:
            ValueError: what is no count, documents without words, another vocabulary's columns.
        """
        check_documents("x", x, self.concentration.shape[1])
        gamma = self.documents(x)
        return gamma / gamma.sum(-1, keepdim=True)

    def predict(self, data: Mapping[str, Tensor]) -> Tensor:
        """Posterior mean of each document's shares of the topics, ``(N, K)``; see :meth:`proportions`."""
        with torch.no_grad():
            return self.proportions(data["x"])

    def top_words(self, vocabulary: Sequence[str], num: int = 10) -> list[list[str]]:
        """The `num` likeliest words of each topic; see :func:`jensen.models.top_words`."""
        return top_words(self.topics, vocabulary, num)

    def documents(self, x: Tensor) -> Tensor:
        r""":math:`\gamma`, ``(N, K)``, of the documents ``(N, V)``."""
        # strided tensors only: as a guide, this runs inside transforms and counters that know no others
        return document_factor(
            SparseCounts(x, fast=False), self._words()[0], self.alpha, self.iterations, self.tolerance
        )

    def forward(self, x: Tensor) -> None:  # type: ignore[override]
        # q(beta)
        pyro.sample("topics", dist.Dirichlet(self.concentration).to_event(1))
        with pyro.plate("data", len(x)):
            # q(theta)
            pyro.sample("proportions", dist.Dirichlet(self.documents(x)))

    @torch.no_grad()
    def update(self, data: Mapping[str, Tensor]) -> Tensor:
        counts, ways = self._prepared(data["x"])
        before, tokens = self.concentration.clone(), counts.values.sum()
        last = torch.where(self.last[1] == tokens, self.last[0], -math.inf)
        for careful in (False, True):
            gamma, target = self._sweep(counts, careful)
            self.concentration.copy_(self.eta + target)
            bound = self._local_bounds(counts, gamma).sum() + ways - self._global_divergence()
            if bound >= last:
                self.last.copy_(torch.stack([bound, tokens]))
                return bound
            self.concentration.copy_(before)
        return last

    @torch.no_grad()
    def stochastic_update(self, batch: Mapping[str, Tensor], data_size: int, rate: float) -> Tensor:
        counts, scale = SparseCounts(batch["x"]), data_size / len(batch["x"])
        gamma, target = self._sweep(counts)
        self.concentration.lerp_(self.eta + scale * target, rate)
        self.last.fill_(-math.inf)
        local = self._local_bounds(counts, gamma).sum() + _ways(counts)
        return scale * local - self._global_divergence()

    @torch.no_grad()
    def finish(self, model: Any) -> None:
        r"""Set the model's own :math:`q(\beta)` to this one, so that its topics and predictions are those learned."""
        counts = (self.concentration - self.eta).clamp_min(torch.finfo(self.concentration.dtype).tiny)
        model.log_counts.copy_(counts.log())

    def _prepared(self, x: Tensor) -> tuple[SparseCounts, Tensor]:
        """The data's nonzero entries and orders, found once for each tensor: no part of the state."""
        if self._counts is None or self._counts[0] is not x:
            counts = SparseCounts(x)
            self._counts = (x, counts, _ways(counts))
        return self._counts[1], self._counts[2]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_counts": None}

    def _words(self) -> tuple[Tensor, Tensor]:
        r""":math:`\exp \mathbb E \log \beta`, ``(K, V)``, over each word's largest, and the log of that, ``(V,)``."""
        logs = expected_log(self.concentration)
        largest = logs.max(0).values
        return (logs - largest).exp(), largest

    def _sweep(self, counts: SparseCounts, careful: bool = False) -> tuple[Tensor, Tensor]:
        r"""The documents' factors, and the expected counts of each word in each topic, ``(K, V)``, at them."""
        words, _ = self._words()
        gamma = document_factor(counts, words, self.alpha, self.iterations, self.tolerance)
        if careful:
            other = document_factor(counts, words, self.alpha, self.iterations, self.tolerance, spread=False)
            better = self._local_bounds(counts, other) > self._local_bounds(counts, gamma)
            gamma = torch.where(better[:, None], other, gamma)
        weights = expected_log(gamma).exp()
        shares = counts.values / counts.products(weights, words).clamp_min(torch.finfo(words.dtype).tiny)
        return gamma, words * counts.columns_sum(shares, weights)

    def _local_bounds(self, counts: SparseCounts, gamma: Tensor) -> Tensor:
        """Each document's part of the bound, without the orders of its words, ``(N,)``."""
        words, largest = self._words()
        logs = expected_log(gamma)
        mixed = counts.products(logs.exp(), words).clamp_min(torch.finfo(words.dtype).tiny).log()
        prior = dist.Dirichlet(torch.full_like(gamma, self.alpha), validate_args=False)
        divergence = kl_divergence(dist.Dirichlet(gamma, validate_args=False), prior)
        return (-divergence).index_add(0, counts.rows, counts.values * (mixed + largest[counts.columns]))

    def _global_divergence(self) -> Tensor:
        factor = dist.Dirichlet(self.concentration, validate_args=False)
        prior = dist.Dirichlet(torch.full_like(self.concentration, self.eta), validate_args=False)
        return kl_divergence(factor, prior).sum()


def _ways(counts: SparseCounts) -> Tensor:
    """Sum over the documents of the log number of orders of their words."""
    totals = counts.values.new_zeros(counts.shape[0]).index_add(0, counts.rows, counts.values)
    return (totals + 1).lgamma().sum() - (counts.values + 1).lgamma().sum()
