"""Latent Dirichlet allocation against scipy, scikit-learn, enumeration, and topics it drew itself."""

from __future__ import annotations

import copy
import itertools
import signal
from functools import partial

import numpy as np
import pyro
import pytest
import scipy.sparse
import torch
from pyro import poutine

from jensen.inference import CAVI, SVI, Trace_ELBO, TraceMeanField_ELBO, elbo_terms, load, log_evidence
from jensen.models import LatentDirichletAllocation, LDACoordinates, top_words
from jensen.models.common.sparse_counts import SparseCounts
from jensen.models.topics.document_factor import document_factor, expected_log
from jensen.models.topics.initialization import document_start

GAMMA = torch.distributions.Gamma


def planted(num=150, words=30, topics=3, length=80, seed=0):
    """Documents of topics that own ten words each."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.full((topics, words), 0.002)
    for k in range(topics):
        truth[k, k * words // topics : (k + 1) * words // topics] = 1.0
    truth = truth / truth.sum(-1, keepdim=True)
    shares = torch.from_numpy(np.random.default_rng(seed).dirichlet([0.2] * topics, num)).to(truth)
    drawn = torch.multinomial(shares @ truth, length, replacement=True, generator=generator)
    return torch.zeros(num, words).scatter_add_(1, drawn, torch.ones(num, length)), truth, shares


def test_the_density_is_that_of_a_multinomial_and_dirichlets(float64):
    from scipy.stats import dirichlet, multinomial

    model = LatentDirichletAllocation(3, 5, alpha=0.7, eta=0.4, total_count=12)
    drawn = model.generate(4, seed=1)
    beta, theta, x = drawn["topics"], drawn["proportions"], drawn["x"]
    assert torch.equal(x.sum(-1), torch.full((4,), 12.0))
    held = poutine.condition(model.model, {"topics": beta, "proportions": theta})
    trace = poutine.trace(held).get_trace(x)
    trace.compute_log_prob()
    for n in range(4):
        expected = multinomial.logpmf(x[n].numpy(), 12, (theta[n] @ beta).numpy())
        assert trace.nodes["x"]["log_prob"][n].item() == pytest.approx(expected, rel=1e-10)
        expected = dirichlet.logpdf(theta[n].numpy(), [0.7] * 3)
        assert trace.nodes["proportions"]["log_prob"][n].item() == pytest.approx(expected, rel=1e-8)
    expected = sum(dirichlet.logpdf(row.numpy(), [0.4] * 5) for row in beta)
    assert trace.nodes["topics"]["log_prob"].sum().item() == pytest.approx(expected, rel=1e-8)


def test_rare_words_keep_their_probabilities_in_single_precision():
    from jensen.models.distributions.row_multinomial import RowMultinomial

    rare = torch.tensor([1 - 1e-12, 1e-12])
    found = RowMultinomial(1, log_probs=rare.log()).log_prob(torch.tensor([0.0, 1.0]))
    assert found.item() == pytest.approx(np.log(1e-12), rel=1e-5)


@pytest.mark.parametrize("fast", [True, False])
def test_sparse_products_are_those_of_dense_matrices(fast, float64):
    x = torch.poisson(torch.full((7, 11), 0.4))
    x[3] = 0
    counts = SparseCounts(x)
    counts.fast = fast and counts.fast
    left, right = torch.rand(7, 4), torch.rand(4, 11)
    rows, columns = x.nonzero(as_tuple=True)
    torch.testing.assert_close(counts.products(left, right), (left @ right)[rows, columns])
    torch.testing.assert_close(counts.rows_sum(counts.values, right), x @ right.mT)
    torch.testing.assert_close(counts.columns_sum(counts.values, left), left.mT @ x)


def test_a_sweep_is_scikit_learn_s(float64):
    from sklearn.decomposition import LatentDirichletAllocation as Peer

    x, _, _ = planted(40)
    options = {"doc_topic_prior": 0.3, "topic_word_prior": 0.2, "max_doc_update_iter": 2000, "mean_change_tol": 1e-12}
    peer = Peer(4, max_iter=1, random_state=0, **options).fit(x.numpy())
    guide = LDACoordinates(torch.from_numpy(peer.components_), 0.3, 0.2, iterations=2000, tolerance=1e-12)
    for _ in range(3):
        theta = torch.from_numpy(peer.transform(x.numpy()))
        torch.testing.assert_close(guide.proportions(x), theta, rtol=0, atol=1e-4)
        bound = guide.update({"x": x})
        # fit starts documents at random; this is its step from the start that transform has
        _, expected = peer._e_step(x.numpy(), cal_sstats=True, random_init=False)
        peer.components_ = 0.2 + expected
        words = torch.from_numpy(peer.components_)
        peer.exp_dirichlet_component_ = (words.digamma() - words.sum(-1, keepdim=True).digamma()).exp().numpy()
        torch.testing.assert_close(guide.concentration, words, rtol=1e-4, atol=1e-5)
    # scikit-learn's bound is at the documents' factors of the next sweep, and without the orders of the words
    orders = (x.sum(-1) + 1).lgamma().sum() - (x + 1).lgamma().sum()
    assert bound.item() - orders.item() == pytest.approx(peer.score(x.numpy()), rel=1e-2)


def test_the_bound_is_the_expectation_it_stands_for(float64):
    """Term by term, with the factors of the words' topics spelled out."""
    x = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
    guide = LDACoordinates(GAMMA(2.0, 1.0).sample((2, 3)), 0.6, 0.5, iterations=2000, tolerance=1e-14)
    gamma = guide.documents(x)
    bound = guide.update({"x": x})
    q, p = torch.distributions.Dirichlet(guide.concentration), torch.distributions.Dirichlet(torch.full((2, 3), 0.5))
    expected = -torch.distributions.kl_divergence(q, p).sum()
    q, p = torch.distributions.Dirichlet(gamma), torch.distributions.Dirichlet(torch.full((2, 2), 0.6))
    expected -= torch.distributions.kl_divergence(q, p).sum()
    log_beta = guide.concentration.digamma() - guide.concentration.sum(-1, keepdim=True).digamma()
    log_theta = gamma.digamma() - gamma.sum(-1, keepdim=True).digamma()
    for n, v in itertools.product(range(2), range(3)):
        scores = log_theta[n] + log_beta[:, v]
        phi = scores.softmax(0)
        expected += x[n, v] * (phi * (scores - phi.log())).sum()
        expected -= (x[n, v] + 1).lgamma()
    expected += (x.sum(-1) + 1).lgamma().sum()
    torch.testing.assert_close(bound, expected)


def test_the_bound_is_below_the_evidence_by_enumeration(float64):
    """Two topics, three words: sum over every topic of every token, with the Dirichlets integrated exactly."""
    x = torch.tensor([[2.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    alpha, eta = 0.6, 0.5
    tokens = [(n, v) for n in range(2) for v in range(3) for _ in range(int(x[n, v]))]

    def log_dirichlet(counts, concentration):
        counts = counts + concentration
        total = torch.full_like(counts, concentration)
        return (
            counts.lgamma().sum(-1) - counts.sum(-1).lgamma() - total.lgamma().sum(-1) + total.sum(-1).lgamma()
        ).sum()

    terms = []
    for assignment in itertools.product(range(2), repeat=len(tokens)):
        documents, words = torch.zeros(2, 2), torch.zeros(2, 3)
        for (n, v), k in zip(tokens, assignment, strict=True):
            documents[n, k] += 1
            words[k, v] += 1
        terms.append(log_dirichlet(documents, alpha) + log_dirichlet(words, eta))
    evidence = torch.stack(terms).logsumexp(0) + (x.sum(-1) + 1).lgamma().sum() - (x + 1).lgamma().sum()

    fit = CAVI(steps=200, restarts=3).fit(LatentDirichletAllocation(2, 3, alpha, eta), x)
    bound = fit.history.bound.iloc[-1]
    assert evidence - 3 < bound < evidence
    summed = elbo_terms(fit, num_particles=4_000)
    assert bound - 5 * summed.stderr < summed.value < evidence + 5 * summed.stderr
    weighted = log_evidence(fit, num_particles=20_000)
    assert bound < weighted.value < evidence + 0.1  # the factors have one of two modes

    beta = torch.distributions.Dirichlet(torch.full((2, 3), eta)).sample((100_000,))
    theta = torch.distributions.Dirichlet(torch.full((2, 2), alpha)).sample((100_000,))
    likelihood = torch.special.xlogy(x, theta @ beta).sum((-1, -2)).exp().mean().log()
    likelihood = likelihood + (x.sum(-1) + 1).lgamma().sum() - (x + 1).lgamma().sum()
    assert likelihood.item() == pytest.approx(evidence.item(), abs=0.05)


def test_every_sweep_raises_the_bound(float64):
    x, _, _ = planted(60)
    fit = CAVI(steps=40).fit(LatentDirichletAllocation(5, 30), x, seed=2)
    assert fit.history.bound.is_monotonic_increasing
    evidence = log_evidence(fit, num_particles=20)
    assert evidence.value > fit.history.bound.iloc[-1]


def overlapping():
    """Documents in which topics are hard to tell apart: their bounds have many maxima."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LatentDirichletAllocation(5, 100, total_count=60).generate(150, seed=1)["x"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_ascent_ends_by_its_tolerance_and_not_in_rounding(dtype):
    model, x = LatentDirichletAllocation(8, 100), overlapping()
    for seed in (0, 2):
        fit = CAVI(steps=200, tolerance=1e-6, dtype=dtype).fit(model, x, seed=seed)
        rises = fit.history.bound.diff().iloc[1:]
        assert fit.info["converged"] and (rises > 0).all()
        assert (rises.iloc[:-1] > 1e-6 * len(x)).all()


def test_documents_found_better_before_are_kept(float64):
    """Documents' factors that no start from nothing finds: a sweep from them still raises the bound."""
    x = overlapping()
    guide = LDACoordinates(0.1 + GAMMA(1.0, 1.0).sample((8, 100)), 0.01, 0.1)
    counts = SparseCounts(x)
    guide.gamma = guide._documents(counts)
    from_nothing = guide._local_bounds(counts, guide._best_documents(counts, guide.gamma))
    for seed in range(40):
        start = torch.rand(150, 8, generator=torch.Generator().manual_seed(seed)) ** 8 * 30
        other = guide._documents(counts, 0.01 + start)
        better = guide._local_bounds(counts, other) > guide._local_bounds(counts, guide.gamma)
        guide.gamma = torch.where(better[:, None], other, guide.gamma)
    kept = guide._local_bounds(counts, guide.gamma)
    assert (kept > from_nothing + 0.01).any()
    best = guide._best_documents(counts, guide._documents(counts))
    assert (guide._local_bounds(counts, best) > kept - 1e-9).all()

    guide.concentration.copy_(0.1 + guide._expected_counts(counts, guide.gamma))
    orders = (x.sum(-1) + 1).lgamma().sum() - (x + 1).lgamma().sum()
    guide.last = guide._local_bounds(counts, guide.gamma).sum() + orders - guide._global_divergence()
    guide.fingerprint = counts.fingerprint()
    bounds = [guide.last] + [guide.update({"x": x}) for _ in range(30)]
    assert (torch.stack(bounds).diff() > 0).all()


def test_other_data_start_an_ascent_of_their_own(float64):
    x, _, _ = planted(40)
    start = GAMMA(5.0, 5.0).sample((3, 30))
    for other in (x.flip(1), x.flip(0), x[:, torch.randperm(30)], x[:20]):
        guide = LDACoordinates(start, 0.1, 0.1)
        for _ in range(5):
            guide.update({"x": x})
        anew = LDACoordinates(guide.concentration, 0.1, 0.1)
        torch.testing.assert_close(guide.update({"x": other}), anew.update({"x": other}), rtol=0, atol=0)
        assert torch.equal(guide.concentration, anew.concentration)


def test_fingerprints():
    x, _, _ = planted(40)
    found = SparseCounts(x).fingerprint()
    assert found > 0 and found == SparseCounts(x.double()).fingerprint() == SparseCounts(x.clone()).fingerprint()
    changed = x.clone()
    changed[3, :2] += torch.tensor([1.0, -1.0])
    others = [x.flip(0), x.flip(1), changed, torch.cat([x, torch.zeros(40, 1)], 1), 2 * x, x[:39]]
    assert len({int(SparseCounts(other).fingerprint()) for other in (x, *others)}) == 7


def test_a_killed_ascent_goes_on_to_the_same_numbers(tmp_path):
    method, x = CAVI(steps=45, tolerance=1e-12, checkpoint_every=6), overlapping()
    model = LatentDirichletAllocation(8, 100)
    whole = method.fit(model, x, seed=3)

    def kill(progress):
        if progress.step == 40:
            raise KeyError

    with pytest.raises(KeyError):
        method.fit(model, x, seed=3, checkpoint=tmp_path, callbacks=[kill])
    again = method.fit(model, x, seed=3, checkpoint=tmp_path)
    assert again.history.bound.tolist() == whole.history.bound.tolist()
    assert torch.equal(again.guide.concentration, whole.guide.concentration)
    assert not len(again.guide.gamma)  # nothing of the size of the data stays in the fit


@pytest.mark.parametrize("batch_size", [None, 25])
def test_planted_topics_are_found(batch_size):
    x, truth, shares = planted()
    x = torch.cat([x, planted(150, seed=1)[0]])
    method = CAVI(steps=60 if batch_size is None else 120, batch_size=batch_size, delay=5.0)
    fit = method.fit(LatentDirichletAllocation(3, 30), x, seed=0)
    distance = torch.cdist(truth.double(), fit.guide.topics, p=1)
    order = distance.argmin(1)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert distance.min(1).values.max() < 0.15
    found = fit.guide.proportions(x[:150])[:, order]
    assert (found - shares).abs().mean() < 0.05
    names = [str(v) for v in range(30)]
    words = fit.guide.top_words(names, 10)
    assert {int(word) for word in words[order[1]]} == set(range(10, 20))


def stop_at_three(progress):
    return progress.step == 3


@pytest.mark.parametrize("batch_size", [None, 25])
@pytest.mark.parametrize("callbacks", [(), (stop_at_three,)])
def test_after_cavi_the_model_has_its_topics(batch_size, callbacks, tmp_path):
    x, _, _ = planted()
    fit = CAVI(steps=30, batch_size=batch_size).fit(LatentDirichletAllocation(3, 30), x, callbacks=callbacks)
    assert fit.info["steps"] == 3 or not callbacks
    fit.save(tmp_path / "fit")
    for found in (fit, copy.deepcopy(fit), load(tmp_path / "fit")):
        torch.testing.assert_close(found.model.topics, fit.guide.topics)
        names = [str(v) for v in range(30)]
        assert found.model.top_words(names, 5) == fit.guide.top_words(names, 5)
        # the model's guide makes ten rounds of the same fixed point
        words = expected_log(fit.guide.concentration).exp()
        gamma = document_factor(SparseCounts(x.double()), words, 0.1, 10, tolerance=0.0)
        shares = gamma / gamma.sum(-1, keepdim=True)
        torch.testing.assert_close(found.model.predict({"x": x}), shares, rtol=1e-3, atol=1e-4)
        assert torch.equal(found.guide.predict({"x": x}), fit.guide.proportions(x))


def test_after_an_interrupted_cavi_the_model_has_its_topics():
    x, _, _ = planted()
    presses = []

    def press(progress):
        if not presses:
            presses.append(signal.raise_signal(signal.SIGINT))

    fit = CAVI(steps=30).fit(LatentDirichletAllocation(3, 30), x, callbacks=[press])
    assert fit.status == "interrupted"
    torch.testing.assert_close(fit.model.topics, fit.guide.topics)


def test_one_step_of_rate_one_on_all_data_is_a_sweep(float64):
    x, _, _ = planted(30)
    start = GAMMA(5.0, 5.0).sample((3, 30))
    batch, online = (LDACoordinates(start, 0.1, 0.1) for _ in range(2))
    first, second = batch.update({"x": x}), online.stochastic_update({"x": x}, len(x), 1.0)
    torch.testing.assert_close(batch.concentration, online.concentration)
    torch.testing.assert_close(first, second)
    half = LDACoordinates(start, 0.1, 0.1)
    half.stochastic_update({"x": x}, len(x), 0.5)
    torch.testing.assert_close(half.concentration, (start + batch.concentration) / 2)


@pytest.mark.parametrize("encoder", ["fixed point", "network"])
def test_svi_finds_the_topics_and_comes_close_to_cavi(encoder):
    x, truth, _ = planted()
    exact = CAVI(steps=60).fit(LatentDirichletAllocation(3, 30), x)
    model = LatentDirichletAllocation(3, 30, encoder=encoder, hidden=(32,))
    fit = SVI(TraceMeanField_ELBO(), steps=200, lr=0.05, batch_size=50, compile="trace").fit(model, x)
    distance = torch.cdist(truth, fit.model.topics, p=1).min(1).values
    assert distance.max() < 0.2
    # words' topics are summed out here, so that this bound may lie above CAVI's
    assert elbo_terms(fit, num_particles=20).value > exact.history.bound.iloc[-1] - 1.0 * len(x)
    shares = fit.model.predict({"x": x})
    torch.testing.assert_close(shares.sum(-1), torch.ones(len(x)))


def test_each_document_may_have_parameters_of_its_own():
    x, truth, _ = planted(60)
    fit = SVI(Trace_ELBO(), steps=250, lr=0.05, guide="normal", compile="trace")
    fit = fit.fit(LatentDirichletAllocation(3, 30, encoder=None), x)
    topics = fit.posterior(100)["topics"].mean(0)
    assert torch.cdist(truth, topics, p=1).min(1).values.max() < 0.5


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_array])
@pytest.mark.parametrize(
    "method",
    [CAVI(steps=5), CAVI(steps=5, batch_size=20), SVI(TraceMeanField_ELBO(), steps=5, lr=0.05, compile=False)],
)
def test_sparse_counts_are_dense_ones(kind, method):
    x, _, _ = planted(60)
    sparse = kind(x.numpy().astype("int64"))
    model = LatentDirichletAllocation(3, 30)
    whole, fit = method.fit(model, x, validation=x[:20]), method.fit(model, sparse, validation=kind(x[:20].numpy()))
    assert fit.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    assert torch.equal(fit.model.topics, whole.model.topics)
    assert torch.equal(fit.model.predict({"x": sparse}), fit.model.predict({"x": x}))
    assert log_evidence(fit, sparse, num_particles=3).value == log_evidence(fit, x, num_particles=3).value
    assert torch.equal(fit.posterior(2, data={"x": sparse})["proportions"], fit.posterior(2, data=x)["proportions"])
    start, same = (model.coordinate_guide({"x": data}, seed=0) for data in (sparse, x))
    assert torch.equal(start.concentration, same.concentration)
    assert torch.equal(start.update({"x": sparse}), same.update({"x": x}))
    assert torch.equal(start.predict({"x": sparse}), same.predict({"x": x}))


def test_starts(float64):
    x, _, _ = planted(50)
    start = document_start(x, 3, seed=0)
    torch.testing.assert_close(start.sum(0), x.sum(0))
    assert torch.equal(start, document_start(x, 3, seed=0))
    few = document_start(x[:2], 3, seed=0)
    torch.testing.assert_close(few.sum(0), x[:2].sum(0))
    part = document_start(x, 3, seed=0, max_rows=25)
    assert part.sum().item() == pytest.approx(x.sum().item(), rel=1e-10)


def test_a_word_never_seen_in_training_does_no_harm():
    x, _, _ = planted(50)
    x[:, 7] = 0
    fit = CAVI(steps=20).fit(LatentDirichletAllocation(3, 30, alpha=0.01, eta=1e-3), x)
    new = torch.zeros(2, 30)
    new[:, 7] = 4
    new[1, 3] = 2
    gamma = fit.guide.documents(new)
    assert gamma.isfinite().all()
    torch.testing.assert_close(gamma.sum(-1), 3 * 0.01 + new.double().sum(-1))


def test_the_fixed_point_is_one(float64):
    x, _, _ = planted(10)
    words = torch.rand(3, 30)
    gamma = document_factor(SparseCounts(x), words, 0.2)
    weights = (gamma.digamma() - gamma.sum(-1, keepdim=True).digamma()).exp()
    phi = weights[:, :, None] * words
    phi = phi / phi.sum(1, keepdim=True)
    torch.testing.assert_close(gamma, 0.2 + (x[:, None] * phi).sum(-1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_topics": 0, "num_words": 5}, "`num_topics` must be positive"),
        ({"num_topics": 2, "num_words": 0}, "`num_words` must be positive"),
        ({"num_topics": 2, "num_words": 5, "alpha": 0.0}, "`alpha` must be positive"),
        ({"num_topics": 2, "num_words": 5, "eta": -1.0}, "`eta` must be positive"),
        ({"num_topics": 2, "num_words": 5, "encoder": "netwrok"}, "`encoder` must be one of .* Did you mean 'network'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        LatentDirichletAllocation(**arguments)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(4, 6), r"`x` must have shape \(N, 5\), one column for each word .*count_words"),
        (torch.full((4, 5), 0.5), "`x` must hold counts .* got 0.5 in row 0, column 0.* tf-idf"),
        (-torch.ones(4, 5), "`x` must hold counts"),
    ],
)
def test_bad_documents(x, message):
    model = LatentDirichletAllocation(2, 5)
    with pytest.raises(ValueError, match=message):
        CAVI(steps=2).fit(model, x)
    with pytest.raises(ValueError, match=message):
        model.predict({"x": x})
    with pytest.raises(ValueError, match=message):
        model.coordinate_guide({"x": x}, 0)
    guide = model.coordinate_guide({"x": torch.ones(4, 5)}, 0)
    for ask in (
        guide.proportions,
        model.proportions,
        lambda x: guide.predict({"x": x}),
        lambda x: guide.update({"x": x}),
    ):
        with pytest.raises(ValueError, match=message):
            ask(x)
    with pytest.raises(ValueError, match=message):
        guide.stochastic_update({"x": x}, 10, 0.5)


def test_another_vocabulary_is_told_from_wherever_it_enters():
    x, _, _ = planted(20)
    for method in (CAVI(steps=2), SVI(TraceMeanField_ELBO(), steps=2, compile=False)):
        fit = method.fit(LatentDirichletAllocation(3, 30), x)
        asks = [partial(log_evidence, fit), partial(elbo_terms, fit), partial(fit.posterior, 2), fit.batch]
        asks += [fit.model.documents, fit.model.guide, fit.model.proportions]
        if isinstance(method, CAVI):
            asks += [fit.guide.documents, fit.guide, fit.guide.proportions]
        for ask in asks:
            with pytest.raises(ValueError, match=r"`x` must have shape \(N, 30\), one column for each word"):
                ask(x[:, :4])


@pytest.mark.parametrize("kind", [torch.Tensor.long, torch.Tensor.double, torch.Tensor.numpy, torch.Tensor.tolist])
def test_counts_of_any_number_type_are_read(kind):
    x, _, _ = planted(20)
    model = LatentDirichletAllocation(3, 30)
    guide = model.coordinate_guide({"x": x}, seed=0)
    assert torch.equal(model.proportions(kind(x)), model.proportions(x))
    assert torch.equal(guide.proportions(kind(x)), guide.proportions(x))
    assert torch.equal(guide.predict({"x": kind(x)}), guide.proportions(x))
    assert torch.equal(model.coordinate_guide({"x": kind(x)}, seed=0).concentration, guide.concentration)
    same = copy.deepcopy(guide)
    assert torch.equal(same.update({"x": kind(x)}), guide.update({"x": x}))
    assert torch.equal(same.concentration, guide.concentration)


def test_what_holds_no_numbers_is_no_counts():
    with pytest.raises(TypeError, match="`x` must hold numbers, got list of dtype"):
        LatentDirichletAllocation(2, 5).predict({"x": [["a", "b"]]})
    x = torch.ones(3, 5)
    x[1, 2] = torch.inf
    with pytest.raises(ValueError, match=r"`x` must hold counts .* got inf in row 1, column 2"):
        LatentDirichletAllocation(2, 5).predict({"x": x})


def test_bad_vocabularies():
    with pytest.raises(ValueError, match=r"`vocabulary` must have one word for each column .* got 2 words"):
        top_words(torch.ones(2, 3), ["a", "b"])
    with pytest.raises(ValueError, match=r"`num` must be in 1, ..., 3, got 4"):
        LatentDirichletAllocation(2, 3).top_words(["a", "b", "c"], 4)


def test_the_store_is_not_used():
    LatentDirichletAllocation(2, 5).guide(torch.ones(3, 5))
    assert not list(pyro.get_param_store().keys())
