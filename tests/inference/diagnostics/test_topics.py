"""Scores of topics, worked by hand."""

from __future__ import annotations

import math

import pytest
import scipy.sparse
import torch

from jensen.inference import (
    CAVI,
    EM,
    SVI,
    ConfigurationError,
    DataError,
    TraceMeanField_ELBO,
    bound_perplexity,
    document_completion,
    fitted_topics,
    fold_in,
    npmi_coherence,
    split_words,
)
from jensen.models import GaussianMixture, LatentDirichletAllocation


def test_split_words(float64):
    x = torch.tensor([[4.0, 0.0, 3.0], [1.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    for seed in range(20):
        first, second = split_words(x, seed)
        assert torch.equal(first + second, x)
        assert (first >= 0).all() and (second >= 0).all()
        assert (first.sum(-1) > 0).all() and (second.sum(-1) > 0).all()
    large, _ = split_words(torch.full((50, 40), 9.0), 0)
    assert large.mean().item() == pytest.approx(4.5, abs=5 * 1.5 / 2000**0.5)
    short = torch.tensor([[2.0], [1.0], [0.0]])
    halves = {tuple(split_words(short, seed)[1].flatten().tolist()) for seed in range(20)}
    assert halves == {(1.0, 0.0, 0.0), (1.0, 1.0, 0.0)}
    with pytest.raises(ValueError, match="`x` must hold words to be predicted, got none in all documents"):
        document_completion(torch.ones(2, 1), short[2:])


def test_completion_by_hand(float64):
    """Topics without common words: the fixed point is the counts themselves."""
    topics = torch.tensor([[3.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])  # normalised inside
    x = torch.tensor([[6.0, 2.0, 4.0, 0.0], [0.0, 1.0, 5.0, 3.0]])
    seen, unseen = split_words(x, 3)
    by_topic = torch.stack([seen[:, :2].sum(-1), seen[:, 2:].sum(-1)], -1)
    theta = (0.5 + by_topic) / (1 + by_topic.sum(-1, keepdim=True))
    torch.testing.assert_close(fold_in(topics, seen, 0.5), theta)
    log_prob, tokens = 0.0, 0.0
    for n in range(2):
        probs = [theta[n, 0] * 0.75, theta[n, 0] * 0.25, theta[n, 1] * 0.5, theta[n, 1] * 0.5]
        log_prob += sum(float(unseen[n, v]) * math.log(probs[v]) for v in range(4))
        tokens += float(unseen[n].sum())
    found = document_completion(topics, x, alpha=0.5, seed=3)
    assert found.value == pytest.approx(math.exp(-log_prob / tokens))
    assert found.details["tokens"].sum() == tokens
    probs = topics / topics.sum(-1, keepdim=True)
    by_function = document_completion(lambda x: fold_in(topics, x, 0.5) @ probs, x, seed=3)
    assert by_function.value == pytest.approx(found.value)
    uniform = document_completion(torch.ones(2, 4), x)
    assert uniform.value == pytest.approx(4.0) and uniform.stderr == pytest.approx(0.0, abs=1e-12)


def test_coherence_by_hand(float64):
    corpus = torch.tensor([[1.0, 1, 1, 1], [2, 1, 0, 1], [1, 0, 0, 1], [0, 0, 1, 1]])
    # p(0) = 3/4, p(1) = 1/2, p(2) = 1/2, p(3) = 1; p(01) = 1/2, p(02) = 1/4, p(12) = 1/4
    pair01 = math.log((1 / 2) / (3 / 4 * 1 / 2)) / -math.log(1 / 2)
    pair02 = math.log((1 / 4) / (3 / 4 * 1 / 2)) / -math.log(1 / 4)
    pair12 = 0.0
    topics = torch.tensor([[5.0, 4.0, 3.0, -1.0], [0.0, 0.0, 2.0, 3.0]])
    found = npmi_coherence(topics[:1], corpus, num_words=3)
    assert found.value == pytest.approx((pair01 + pair02 + pair12) / 3)
    # word 3 is everywhere, and tells nothing
    assert npmi_coherence(topics[1:], corpus, num_words=2).value == pytest.approx(0.0)
    apart = torch.tensor([[1.0, 0, 1], [0, 1, 1]])
    assert npmi_coherence(torch.tensor([[2.0, 1.0, 0.0]]), apart, num_words=2).value == -1.0
    both = npmi_coherence(topics, corpus, num_words=2)
    assert both.details["topics"].shape == (2,)
    assert both.stderr == pytest.approx(float(both.details["topics"].std() / 2**0.5))


@pytest.mark.parametrize("method", [CAVI(steps=30), SVI(TraceMeanField_ELBO(), steps=100, compile="trace")])
def test_fits(method, float64):
    x = torch.poisson(torch.full((40, 12), 1.0)) + torch.eye(12)[torch.arange(40) % 12] * 5
    fit = method.fit(LatentDirichletAllocation(4, 12), x)
    topics = fitted_topics(fit)
    torch.testing.assert_close(topics.sum(-1), torch.ones(4))
    assert torch.equal(topics, (fit.guide if isinstance(method, CAVI) else fit.model).topics)
    perplexity = bound_perplexity(fit, num_particles=50)
    orders = (x.sum(-1) + 1).lgamma().sum() - (x + 1).lgamma().sum()
    if isinstance(method, CAVI):
        assert perplexity.value <= math.exp(-(fit.history.bound.iloc[-1] - orders) / x.sum()) + 3 * perplexity.stderr
    assert 4 < document_completion(topics, x).value < perplexity.value


def test_sparse_counts_are_dense_ones():
    x = torch.poisson(torch.full((40, 12), 1.0)) + torch.eye(12)[torch.arange(40) % 12] * 5
    topics = torch.rand(3, 12)
    fit = CAVI(steps=3).fit(LatentDirichletAllocation(3, 12), x)
    for sparse in (
        scipy.sparse.csr_matrix(x.numpy().astype("int64")),
        scipy.sparse.coo_array(x.numpy()),
        x.to_sparse(),
    ):
        assert document_completion(topics, sparse).value == document_completion(topics, x).value
        assert npmi_coherence(topics, sparse, num_words=4).value == npmi_coherence(topics, x, num_words=4).value
        assert bound_perplexity(fit, sparse).value == bound_perplexity(fit, x).value
        assert bound_perplexity(fit, {"x": sparse}).value == bound_perplexity(fit, x).value
        assert torch.equal(fold_in(topics, sparse, 0.1), fold_in(topics, x, 0.1))
        assert torch.equal(split_words(sparse)[0], split_words(x)[0])


def test_other_models_take_no_sparse_data():
    with pytest.raises(DataError, match=r"`x` is a sparse matrix. Pass `x.toarray\(\)`"):
        EM(steps=2).fit(GaussianMixture(2, 3), scipy.sparse.eye(3))


def test_an_impossible_word_is_named():
    x = torch.tensor([[4.0, 4.0, 0.0], [2.0, 4.0, 4.0]])
    with pytest.warns(RuntimeWarning, match=r"infinite: 1 of the words .* probability zero .* row 1, column 2\. Leave"):
        found = document_completion(torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), x)
    assert found.value == math.inf and math.isnan(found.stderr)
    assert found.details["log_prob"].isinf().tolist() == [False, True]
    assert document_completion(torch.tensor([[1.0, 1.0, 0.0]]), x[:1]).value < math.inf  # nobody uses it: no warning
    with pytest.raises(ConfigurationError, match=r"`topics` must return .* shape \(2, 3\) here, got \(2, 2\)"):
        document_completion(lambda x: x[:, :2], x)


def test_bad_input():
    x = torch.ones(3, 4)
    with pytest.raises(ValueError, match=r"`x` must have shape \(N, 5\)"):
        document_completion(torch.ones(2, 5), x)
    with pytest.raises(ValueError, match=r"`topics` must be weights .* none negative"):
        document_completion(-torch.ones(2, 4), x)
    with pytest.raises(ValueError, match=r"`num_words` must be in 2, ..., 4, got 10"):
        npmi_coherence(torch.ones(2, 4), x)
    with pytest.raises(ValueError, match="`reference` must have shape"):
        npmi_coherence(torch.ones(2, 4), torch.ones(3, 5), num_words=2)
