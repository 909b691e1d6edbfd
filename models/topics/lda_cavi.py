"""Batch and online coordinate ascent for latent Dirichlet allocation."""

from __future__ import annotations

__all__ = ["LDACoordinates"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from ..common.precision import wide
from ..common.sparse_counts import SparseCounts
from ..coordinate_guide import CoordinateGuide
from .base import check_columns, read_documents, top_words
from .document_factor import document_factor, expected_log


class LDACoordinates(CoordinateGuide):
    r"""Dirichlet factors of topics and of documents, with the topics of the words' own factors at their optimum.

    .. math::
        \beta_k \sim \mathrm{Dirichlet}(\lambda_k), \quad \theta_n \sim \mathrm{Dirichlet}(\gamma_n), \qquad
        \lambda_{kv} = \eta + \sum_n x_{nv} \phi_{nvk}.

    The bound is that of the model in which every word has a topic, below the ELBO of `forward`, in which words' topics
    are summed out:

    .. math:: \sum_{nv} x_{nv} \log \sum_k \exp(\mathbb E \log \theta_{nk} + \mathbb E \log \beta_{kv})
        - \sum_n \mathrm{KL}(\theta_n) - \sum_k \mathrm{KL}(\beta_k) + \log \text{orders of the words}.

    `update` makes documents' factors from nothing, then the topics', and returns the bound at both. A document's bound
    has several maxima, so that a document may be found in a worse one than in the last sweep; where the bound would
    fall by that, each document takes the best of three starts: all topics alike, the topic that explains it best, and
    its factor of the last sweep, from which its bound cannot fall. If the bound still would, it is by rounding: the
    topics stay as they are, and the ascent has ended. A mini-batch step moves the topics part of the way, as online
    LDA does. The first sweep of a further fit has no last factors, and tries more starts: the document's two best
    topics alike, and the one or two that it has most of.

    Sweeps over the same data thus never lower the bound; other data start an ascent of their own. The documents'
    factors of the last sweep are part of the state while a fit lasts, and are dropped at its end.

    Args:
        concentration: the start of :math:`\lambda`, ``(K, V)``.
        alpha, eta: concentrations of the priors.
        iterations, tolerance: of the documents' fixed point, see :func:`document_factor`.

    Reference: M. Hoffman, D. Blei, F. Bach, *Online Learning for Latent Dirichlet Allocation*, 2010,
    https://papers.nips.cc/paper/3902-online-learning-for-latent-dirichlet-allocation
    """

    concentration: Tensor
    gamma: Tensor
    last: Tensor
    fingerprint: Tensor
    learned: Tensor

    def __init__(
        self,
        concentration: Tensor,
        alpha: float,
        eta: float,
        iterations: int = 200,
        tolerance: float = 1e-3,
    ) -> None:
        super().__init__()
        self.alpha, self.eta, self.iterations, self.tolerance = alpha, eta, iterations, tolerance
        self.register_buffer("concentration", concentration.clone())
        # of the last sweep: the documents' factors, the bound, and what data they are of
        self.register_buffer("gamma", concentration.new_empty(0, len(concentration)))
        self.register_buffer("last", concentration.new_tensor(-math.inf))
        self.register_buffer("fingerprint", torch.zeros((), dtype=torch.int64, device=concentration.device))
        self.register_buffer("learned", torch.zeros((), dtype=torch.bool))  # by a fit that has ended
        self._counts: tuple[Any, SparseCounts, Tensor, Tensor] | None = None

    @property
    def topics(self) -> Tensor:
        """Posterior mean of each topic's probabilities of the words, ``(K, V)``."""
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    def proportions(self, x: Any) -> Tensor:
        """Posterior mean of each document's shares of the topics, ``(N, K)``.

        Args:
            x: counts ``(N, V)``: a tensor or array of any number type, or a scipy sparse matrix.

        Raises:
            ValueError: what is no count, or another vocabulary's columns.
        """
        gamma = self.documents(self._read(x))
        return gamma / gamma.sum(-1, keepdim=True)

    def predict(self, data: Mapping[str, Any]) -> Tensor:
        """Posterior mean of each document's shares of the topics, ``(N, K)``; see :meth:`proportions`."""
        with torch.no_grad():
            return self.proportions(data["x"])

    def top_words(self, vocabulary: Sequence[str], num: int = 10) -> list[list[str]]:
        """The `num` likeliest words of each topic; see :func:`jensen.models.top_words`."""
        return top_words(self.topics, vocabulary, num)

    def documents(self, x: Tensor) -> Tensor:
        r""":math:`\gamma`, ``(N, K)``, of the documents ``(N, V)``."""
        check_columns("x", x, self.concentration.shape[1])
        # strided tensors only: as a guide, this runs inside transforms and counters that know no others
        counts = SparseCounts(x.to(self.concentration.dtype), fast=False)
        return document_factor(counts, self._words()[0], self.alpha, self.iterations, self.tolerance)

    def forward(self, x: Tensor) -> None:  # type: ignore[override]
        # q(beta)
        pyro.sample("topics", dist.Dirichlet(self.concentration).to_event(1))
        with pyro.plate("data", len(x)):
            # q(theta)
            pyro.sample("proportions", dist.Dirichlet(self.documents(x)))

    @torch.no_grad()
    def update(self, data: Mapping[str, Tensor]) -> Tensor:
        counts, ways, fingerprint = self._prepared(data["x"])
        if fingerprint != self.fingerprint:
            self._forget()
            self.fingerprint = fingerprint
        before = self.concentration.clone()
        gamma = self._documents(counts)
        if self.learned and self.last == -math.inf:
            gamma = self._best_documents(counts, gamma)
        for again in (True, False):
            self.concentration.copy_(self.eta + self._expected_counts(counts, gamma))
            bound = self._local_bounds(counts, gamma).sum() + ways - self._global_divergence()
            if not bound < self.last:
                self.gamma, self.last = gamma, bound
                break
            self.concentration.copy_(before)
            if again:
                gamma = self._best_documents(counts, gamma)
        return self.last

    @torch.no_grad()
    def stochastic_update(self, batch: Mapping[str, Tensor], data_size: int, rate: float) -> Tensor:
        counts = SparseCounts(self._read(batch["x"]))
        scale = data_size / counts.shape[0]
        gamma = self._documents(counts)
        self.concentration.lerp_(self.eta + scale * self._expected_counts(counts, gamma), rate)
        self._forget()
        local = self._local_bounds(counts, gamma).sum() + _ways(counts)
        return scale * local - self._global_divergence()

    @torch.no_grad()
    def finish(self, model: Any) -> None:
        r"""Set the model's own :math:`q(\beta)` to this one, so that its topics and predictions are those learned."""
        self._forget()
        self.learned.fill_(True)
        counts = (self.concentration - self.eta).clamp_min(torch.finfo(self.concentration.dtype).tiny)
        model.log_counts.copy_(counts.log())

    def _forget(self) -> None:
        """No sweep has been made."""
        self.gamma = self.gamma.new_empty(0, self.gamma.shape[1])
        self.last = torch.full_like(self.last, -math.inf)
        self.fingerprint = torch.zeros_like(self.fingerprint)

    def _read(self, x: Any) -> Tensor:
        return read_documents("x", x, self.concentration.shape[1], self.concentration)

    def _prepared(self, x: Any) -> tuple[SparseCounts, Tensor, Tensor]:
        """The data's nonzero entries, orders and fingerprint, found once for the same object: no part of the state."""
        if self._counts is None or self._counts[0] is not x:
            counts = SparseCounts(self._read(x))
            self._counts = (x, counts, _ways(counts), counts.fingerprint())
        return self._counts[1:]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        state.setdefault(f"{prefix}learned", torch.ones_like(self.learned))  # of a file without it: of a fit that ended
        for name in ("gamma", "last"):  # of the sweep that they are from: its documents, and its bound's precision
            if (kept := state.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(kept, device=self.last.device))
        super()._load_from_state_dict(state, prefix, *rest)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_counts": None}

    def _words(self, concentration: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r""":math:`\exp \mathbb E \log \beta`, ``(K, V)``, over each word's largest, and the log of that, ``(V,)``."""
        logs = expected_log(self.concentration if concentration is None else concentration)
        largest = logs.max(0).values
        return (logs - largest).exp(), largest

    def _documents(self, counts: SparseCounts, start: Tensor | None = None) -> Tensor:
        r""":math:`\gamma`, ``(N, K)``, found from `start`."""
        return document_factor(counts, self._words()[0], self.alpha, self.iterations, self.tolerance, start)

    def _best_documents(self, counts: SparseCounts, gamma: Tensor) -> Tensor:
        """For each document the best of its factor here, and those from its best topic and from the last sweep."""
        words = self._words()[0].clamp_min(torch.finfo(gamma.dtype).tiny)
        fits = counts.rows_sum(counts.values, words.log())
        totals = counts.totals[:, None]
        starts = [self.alpha + totals * fits.softmax(-1)]
        if len(self.gamma):
            starts.append(self.gamma)
        else:
            starts += [self.alpha + totals * _largest(*of) for of in ((fits, 2), (gamma, 1), (gamma, 2))]
        best = self._local_bounds(counts, gamma)
        for start in starts:
            other = self._documents(counts, start)
            bounds = self._local_bounds(counts, other)
            gamma = torch.where((bounds > best)[:, None], other, gamma)
            best = torch.maximum(best, bounds)
        return gamma

    def _expected_counts(self, counts: SparseCounts, gamma: Tensor) -> Tensor:
        r"""Of each word in each topic, ``(K, V)``, at the documents' factors."""
        words, weights = self._words()[0], expected_log(gamma).exp()
        shares = counts.values / counts.products(weights, words).clamp_min(torch.finfo(words.dtype).tiny)
        return words * counts.columns_sum(shares, weights)

    def _local_bounds(self, counts: SparseCounts, gamma: Tensor) -> Tensor:
        """Each document's part of the bound, without the orders of its words, ``(N,)``, in double precision.

        In single precision a sweep's rise soon drowns in the rounding of the bound, and the ascent would end on slopes.
        """
        gamma = wide(gamma)
        words, largest = self._words(wide(self.concentration))
        logs = expected_log(gamma)
        mixed = counts.products(logs.exp(), words).clamp_min(torch.finfo(words.dtype).tiny).log()
        prior = dist.Dirichlet(torch.full_like(gamma, self.alpha), validate_args=False)
        divergence = kl_divergence(dist.Dirichlet(gamma, validate_args=False), prior)
        return (-divergence).index_add(0, counts.rows, counts.values * (mixed + largest[counts.columns]))

    def _global_divergence(self) -> Tensor:
        concentration = wide(self.concentration)
        factor = dist.Dirichlet(concentration, validate_args=False)
        prior = dist.Dirichlet(torch.full_like(concentration, self.eta), validate_args=False)
        return kl_divergence(factor, prior).sum()


def _largest(values: Tensor, num: int) -> Tensor:
    """Equal shares of each row's `num` largest, ``(N, K)``."""
    found = values.topk(min(num, values.shape[-1]), -1).indices
    return torch.zeros_like(values).scatter_(-1, found, 1 / found.shape[-1])


def _ways(counts: SparseCounts) -> Tensor:
    """Sum over the documents of the log number of orders of their words."""
    return (wide(counts.totals) + 1).lgamma().sum() - (wide(counts.values) + 1).lgamma().sum()
