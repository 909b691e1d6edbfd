"""Scores of topics, by whatever they were found: held-out completion, coherence, and perplexity by the bound."""

from __future__ import annotations

__all__ = ["bound_perplexity", "document_completion", "fitted_topics", "fold_in", "npmi_coherence", "split_words"]

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jensen.models.common.inputs import as_tensor
from jensen.models.common.sparse_counts import SparseCounts, dense
from jensen.models.distributions.count_masses import log_multinomial_coefficient
from jensen.models.topics.base import read_documents
from jensen.models.topics.document_factor import document_factor

from ..errors import ConfigurationError, DataError
from ..warn import warn_user
from .elbo_terms import elbo_terms
from .estimate import Estimate


def fitted_topics(fit: Any) -> Tensor:
    """The topics ``(K, V)`` of a fit of a topic model, whichever method made it.

    Those of a coordinate guide or the model's own guide are means of the factor (ProdLDA: weights); another guide's
    are averages of 100 draws.
    """
    if isinstance(found := getattr(fit.guide, "topics", None), Tensor):
        return found
    automatic = getattr(fit.config, "get", lambda _: None)("guide")
    if automatic is None and isinstance(found := getattr(fit.model, "topics", None), Tensor):
        return found
    return fit.posterior(100, seed=0)["topics"].mean(0)  # type: ignore[no-any-return]


def _counts(name: str, x: Any, num_words: int | None = None) -> Tensor:
    """Counts ``(N, V)``, also of a scipy sparse matrix, as a tensor of the default type where they are."""
    device = x.device if isinstance(x, Tensor) else torch.get_default_device()
    try:
        return read_documents(name, x, num_words, torch.empty((), device=device))
    except ValueError as error:
        raise DataError(str(error)) from error


def _simplex(topics: Any) -> Tensor:
    topics = as_tensor("topics", topics).to(torch.get_default_dtype())
    if topics.ndim != 2 or not (topics >= 0).all() or not (topics.sum(-1) > 0).all():
        raise ConfigurationError(
            f"`topics` must be weights of shape (K, V), none negative, no row of zeros; got {tuple(topics.shape)} with "
            f"smallest {float(topics.min()):g}. Of a model whose topics are no probabilities, pass a function."
        )
    return topics / topics.sum(-1, keepdim=True)


def fold_in(topics: Tensor, x: Any, alpha: float) -> Tensor:
    r"""Shares of the topics in new documents, ``(N, K)``: the mean of the best Dirichlet factor at these topics.

    Args:
        topics: probabilities of the words (normalised here), ``(K, V)``: of jensen, of scikit-learn's
            ``components_``, of lda's ``topic_word_``.
        x: counts, ``(N, V)``.
        alpha: concentration of the prior over shares.
    """
    topics = _simplex(topics)
    x = _counts("x", x, topics.shape[1])
    gamma = document_factor(SparseCounts(x), topics, alpha)
    return gamma / gamma.sum(-1, keepdim=True)


def split_words(x: Any, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Each word token to one half or the other, by a fair coin: two counts ``(N, V)`` that sum to `x`.

    A document of two tokens or more of which a half would be empty has one token moved there; the one token of a
    shorter document goes where its coin falls.

    Raises:
        DataError: `x` are no counts.
    """
    x = _counts("x", x)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = x.cpu().nonzero(as_tuple=True)
    times = x.cpu()[rows, columns].long()
    rows, columns = rows.repeat_interleave(times), columns.repeat_interleave(times)
    seen = torch.rand(len(rows), generator=generator) < 0.5
    first = torch.zeros(x.shape).index_put((rows, columns), seen.to(torch.get_default_dtype()), accumulate=True).to(x)
    second = x - first
    for short, long in ((first, second), (second, first)):
        for row in ((short.sum(-1) == 0) & (long.sum(-1) > 1)).nonzero().flatten().tolist():
            word = int(long[row].nonzero()[0])
            short[row, word] += 1
            long[row, word] -= 1
    return first, second


def document_completion(
    topics: Tensor | Callable[[Tensor], Tensor], x: Any, *, alpha: float = 0.1, seed: int = 0
) -> Estimate:
    r"""Perplexity of the unseen half of held-out documents, given the other half:

    .. math:: \exp \Big( - \sum_{nv} u_{nv} \log p_{nv} \Big/ \sum_{nv} u_{nv} \Big), \qquad
        p_n = \hat\theta(s_n)^\top \beta, \qquad s_n + u_n = x_n \text{ (seen and unseen)},

    natural logarithms, per word token. No bound enters: it is the predictive probability of a point estimate of shares
    and topics, so that topics of any origin compare. Tokens are split by :func:`split_words`, by `seed` alone. A
    document whose unseen half is empty adds nothing; one whose seen half is empty is predicted from the prior.

    Args:
        topics: probabilities of the words (normalised here), ``(K, V)``; or a function from the seen counts ``(N, V)``
            to the probabilities of the words, ``(N, V)``, such as `ProdLDA.word_probs`.
        x: held-out counts, ``(N, V)``; a tensor, array or scipy sparse matrix.
        alpha: prior concentration of the shares, see :func:`fold_in`.
        seed: of the split.

    Returns:
        The perplexity; its standard error is that over documents, for a ratio. It is infinite, without a standard
        error and with a warning, where a word of the unseen half has probability zero. Details: ``log_prob``
        and ``tokens`` of each document's unseen half, ``(N,)``.

    Raises:
        DataError: `x` are no counts of this vocabulary, or the unseen half of all documents is empty.
        ConfigurationError: `topics` cannot be probabilities.

    Reference: H. Wallach et al., *Evaluation Methods for Topic Models*, 2009, https://doi.org/10.1145/1553374.1553515

    Example:
        >>> topics = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
        >>> uniform = torch.ones(2, 3)
        >>> x = torch.tensor([[4.0, 6.0, 0.0], [0.0, 5.0, 5.0]])
        >>> document_completion(topics, x).value < document_completion(uniform, x).value
        True
    """
    with torch.no_grad():
        if callable(topics):
            seen, unseen = split_words(x, seed)
            _check_words(unseen)
            probs = topics(seen).to(unseen.device)
        else:
            topics = _simplex(topics)
            seen, unseen = split_words(_counts("x", x, topics.shape[1]), seed)
            _check_words(unseen)
            probs = fold_in(topics, seen, alpha) @ topics
        if probs.shape != unseen.shape:
            raise ConfigurationError(
                f"`topics` must return the words' probabilities, of shape {tuple(unseen.shape)} here, got "
                f"{tuple(probs.shape)}. Of ProdLDA, pass `fit.model.word_probs`."
            )
        _warn_of_impossible((unseen > 0) & (probs == 0))
        log_prob = torch.special.xlogy(unseen, probs).sum(-1)
    tokens = unseen.sum(-1)
    mean = log_prob.sum() / tokens.sum()
    residual = log_prob - mean * tokens
    stderr = residual.square().sum().sqrt() / tokens.sum()
    value = math.exp(-float(mean))
    return Estimate(value, value * float(stderr), 1, {"log_prob": log_prob, "tokens": tokens})


def _check_words(x: Tensor) -> None:
    if not bool((x > 0).any()):
        raise DataError("`x` must hold words to be predicted, got none in all documents. Pass documents of some words.")


def _warn_of_impossible(impossible: Tensor) -> None:
    if impossible.any():
        row, column = impossible.nonzero()[0].tolist()
        warn_user(
            f"The perplexity is infinite: {int(impossible.any(0).sum())} of the words of `x` have probability zero "
            f"under `topics` where they occur, the first in row {row}, column {column}. Leave such words out of `x`, "
            "or give topics that are smoothed: posterior means, or counts with a small number added.",
            RuntimeWarning,
        )


def npmi_coherence(topics: Tensor, reference: Any, *, num_words: int = 10) -> Estimate:
    r"""Mean normalised pointwise mutual information of the pairs among each topic's top words,

    .. math:: \mathrm{npmi}(a, b) = \log \frac{p(a, b)}{p(a)\, p(b)} \Big/ (- \log p(a, b)) \in [-1, 1],

    where :math:`p` is the share of reference documents that hold the word, or both. A pair that never meets counts as
    -1, one that is in every document as 0. Values depend on vocabulary and corpus: compare on one pipeline only.

    Args:
        topics: weights of any kind, larger is likelier, ``(K, V)``.
        reference: counts of the corpus in which words meet, ``(M, V)``; a tensor, array or scipy sparse matrix.
        num_words: top words of a topic, at least 2.

    Returns:
        The mean over topics, and its standard error over topics. Details: ``topics``, each one's coherence, ``(K,)``.

    Raises:
        DataError: `reference` are no counts of this vocabulary.
        ConfigurationError: `num_words` is not in 2, ..., V.

    Reference: J. Lau, D. Newman, T. Baldwin, *Machine Reading Tea Leaves*, 2014, https://aclanthology.org/E14-1056/

    Example:
        >>> corpus = torch.tensor([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        >>> npmi_coherence(torch.tensor([[0.5, 0.4, 0.1]]), corpus, num_words=2).value
        1.0
    """
    topics = as_tensor("topics", topics)
    if not 2 <= num_words <= topics.shape[-1]:
        raise ConfigurationError(f"`num_words` must be in 2, ..., {topics.shape[-1]}, got {num_words}.")
    present = (_counts("reference", reference, topics.shape[-1]) > 0).double()
    first, second = torch.triu_indices(num_words, num_words, 1).unbind()
    coherences = []
    for words in topics.topk(num_words, -1).indices:
        chosen = present[:, words.to(present.device)]
        together = chosen.mT @ chosen / len(chosen)
        alone, both = together.diagonal(), together[first, second]
        information = (both / (alone[first] * alone[second])).log() / -both.log()
        information = torch.where(both == 0, -1.0, torch.where(both == 1, 0.0, information))
        coherences.append(information.mean())
    each = torch.stack(coherences)
    stderr = float(each.std() / math.sqrt(len(each))) if len(each) > 1 else 0.0
    return Estimate(round(float(each.mean()), 12), stderr, 1, {"topics": each})


def bound_perplexity(fit: Any, data: Any = None, *, seed: int = 0, num_particles: int = 10) -> Estimate:
    r"""Perplexity by the bound on whole documents, an upper bound on the perplexity:

    .. math:: \exp \Big( - \big(\mathrm{ELBO} - \sum_n \log \text{orders}(x_n)\big) \Big/ \sum_{nv} x_{nv} \Big).

    The orders of the words, which the counts' density has and a text's has not, are taken out. The divergence of
    the topics from their prior is in it too, so that it falls with the number of documents; to compare models, use
    :func:`document_completion`.

    Args:
        fit: of a topic model.
        data: the documents; the training data if None.
        seed, num_particles: of the bound's estimate.

    Raises:
        DataError: the documents hold no word.
    """
    bound = elbo_terms(fit, data, seed=seed, num_particles=num_particles)
    x = fit.data["x"] if data is None else (data["x"] if isinstance(data, dict) else data)
    x = torch.as_tensor(dense(x), dtype=torch.get_default_dtype())
    _check_words(x)
    tokens = float(x.sum())
    value = math.exp(-(bound.value - float(log_multinomial_coefficient(x).sum())) / tokens)
    return Estimate(value, value * bound.stderr / tokens, 1, {"bound": bound.value, "tokens": tokens})
