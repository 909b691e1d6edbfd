"""Enumerated latents in nested plates and chains, with masks, scales and mini-batches."""

from __future__ import annotations

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from jensen.inference import IWAE, ModelError, Trace_ELBO, TraceEnum_ELBO, minibatch
from jensen.inference.pair.program import Program
from jensen.inference.pair.terms import evaluate

SUM = {"enumerate": "parallel"}
X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
LOCS = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)


def value(objective, model, guide, x=X, size=None):
    with minibatch(size or len(x)):
        return float(objective.bound(Program(model, guide), {"x": x}).bound)


TOPICS = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
WORDS = torch.tensor([[0, 2, 1, 0], [2, 2, 1, 2], [0, 0, 1, 1]])


def corpus(x):
    """The data plate at dim -2, words inside."""
    with pyro.plate("data", len(x), dim=-2):
        theta = pyro.sample("theta", dist.Dirichlet(torch.ones(2)))
        with pyro.plate("words", x.shape[1], dim=-1):
            topic = pyro.sample("topic", dist.Categorical(theta), infer=SUM)
            pyro.sample("x", dist.Categorical(Vindex(TOPICS)[topic]), obs=x)


def corpus_guide(x):
    with pyro.plate("data", len(x), dim=-2):
        pyro.sample("theta", dist.Dirichlet(torch.tensor([2.0, 3.0])))


def test_words_inside_documents(numerics):
    program = Program(corpus, corpus_guide)
    assert program.structure({"x": WORDS}).sites["theta"].data_dim == -2
    terms = numerics.terms(Trace_ELBO(), program, {"x": WORDS}, 6)
    theta = terms.values["theta"][:, :, 0]
    by_word = (theta @ TOPICS)[:, torch.arange(3)[:, None], WORDS].log().sum(-1)
    torch.testing.assert_close(terms.log_likelihood, by_word)
    prior, q = dist.Dirichlet(torch.ones(2)), dist.Dirichlet(torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(terms.log_weight_local, by_word + prior.log_prob(theta) - q.log_prob(theta))
    # the evidence by quadrature over theta, per document
    grid = (torch.arange(2000.0) + 0.5) / 2000
    theta = torch.stack([grid, 1 - grid], -1)
    evidence = (theta @ TOPICS)[:, WORDS].log().sum(-1).exp().mean(0).log()
    assert value(IWAE(20_000), corpus, corpus_guide, WORDS) == pytest.approx(float(evidence.sum()), abs=0.01)
    assert value(IWAE(20_000), corpus, corpus_guide, WORDS[:2], size=6) == pytest.approx(
        3 * float(evidence[:2].sum()), abs=0.1
    )


def test_a_document_topic_above_its_words():
    """One enumerated latent in the data plate, one in the plate inside: both are summed, each at its own level."""

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.4, 0.6])), infer=SUM)
            with pyro.plate("words", x.shape[1], dim=-1):
                mix = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
                topic = pyro.sample("topic", dist.Categorical(Vindex(mix)[kind]), infer=SUM)
                pyro.sample("x", dist.Categorical(Vindex(TOPICS)[topic]), obs=x)

    word = torch.tensor([[0.9, 0.1], [0.3, 0.7]]) @ TOPICS
    exact = (torch.tensor([0.4, 0.6]).log()[:, None] + word[:, WORDS].log().sum(-1)).logsumexp(0)
    for objective in (TraceEnum_ELBO(), TraceEnum_ELBO(3), IWAE(2)):
        assert value(objective, model, lambda x: None, WORDS) == pytest.approx(float(exact.sum()), rel=1e-12)
    assert value(TraceEnum_ELBO(), model, lambda x: None, WORDS[:1], size=3) == pytest.approx(3 * float(exact[0]))


def test_data_as_the_inner_plate():
    """Groups at dim -2 around data at dim -1: each datum owns a column."""

    def model(x):
        with pyro.plate("groups", 2, dim=-2), pyro.plate("data", x.shape[0], dim=-1):
            c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUM)
            pyro.sample("x", dist.Normal(LOCS[c], 1.0), obs=x.T)

    x = torch.randn(4, 2)
    exact = torch.logsumexp(WEIGHTS.log() + dist.Normal(LOCS, 1.0).log_prob(x.unsqueeze(-1)), -1).sum(-1)
    program = Program(model, lambda x: None)
    torch.testing.assert_close(IWAE(1).bound(program, {"x": x}).bound, exact.sum())
    torch.testing.assert_close(evaluate(program, {"x": x}).log_weight_local[0], exact)


@pytest.mark.parametrize("length", [2, 4])
def test_a_chain_of_summed_latents(length):
    move = torch.tensor([[0.8, 0.2], [0.3, 0.7]])

    def model(x):
        with pyro.plate("data", len(x)):
            state = pyro.sample("s0", dist.Categorical(torch.tensor([0.6, 0.4])), infer=SUM)
            pyro.sample("x0", dist.Normal(2.0 * state, 1.0), obs=x[:, 0])
            for t in range(1, length):
                state = pyro.sample(f"s{t}", dist.Categorical(Vindex(move)[state]), infer=SUM)
                pyro.sample(f"x{t}", dist.Normal(2.0 * state, 1.0), obs=x[:, t])

    x = torch.randn(3, length) + 1
    paths = []
    for path in itertools.product((0, 1), repeat=length):
        log_p = torch.tensor([0.6, 0.4])[path[0]].log()
        log_p = log_p + sum(move[a, b].log() for a, b in itertools.pairwise(path))
        paths.append(log_p + sum(dist.Normal(2.0 * s, 1.0).log_prob(x[:, t]) for t, s in enumerate(path)))
    exact = torch.stack(paths).logsumexp(0).sum()
    assert value(TraceEnum_ELBO(2), model, lambda x: None, x) == pytest.approx(float(exact), rel=1e-12)


def test_a_global_latent_is_summed_once_and_only_on_the_full_batch():
    def model(x):
        c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUM)
        with pyro.plate("data", len(x)):
            d = pyro.sample("d", dist.Bernoulli(torch.tensor(0.3)), infer=SUM)
            pyro.sample("x", dist.Normal(LOCS[c] + d, 1.0), obs=x)

    mix = torch.tensor([0.7, 0.3]).log()
    per = (mix + dist.Normal(LOCS[:, None, None] + torch.tensor([0.0, 1.0]), 1.0).log_prob(X[:, None])).logsumexp(-1)
    exact = (WEIGHTS.log() + per.sum(-1)).logsumexp(0)
    for objective in (TraceEnum_ELBO(), IWAE(3)):
        assert value(objective, model, lambda x: None) == pytest.approx(float(exact), rel=1e-12)
        with pytest.raises(ModelError, match="The global discrete latent `c` is summed out together with all the data"):
            value(objective, model, lambda x: None, size=6)


def test_scales_of_the_program_reach_enumerated_sites():
    def model(x, second=3.0):
        with pyro.plate("data", len(x)):
            with pyro.poutine.scale(scale=3.0):
                c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUM)
            with pyro.poutine.scale(scale=second):
                pyro.sample("x", dist.Normal(LOCS[c], 1.0), obs=x)

    exact = torch.logsumexp(WEIGHTS.log() + dist.Normal(LOCS, 1.0).log_prob(X.unsqueeze(-1)), -1).sum()
    assert value(TraceEnum_ELBO(), model, lambda x: None) == pytest.approx(3 * float(exact))
    assert value(TraceEnum_ELBO(), model, lambda x: None, size=6) == pytest.approx(6 * float(exact))
    with pytest.raises(
        ModelError, match="`c` and `x` are summed over the same discrete latent and must have the same scale"
    ):
        value(TraceEnum_ELBO(), lambda x: model(x, 2.0), lambda x: None)


def test_masked_data_do_not_count():
    mask = torch.tensor([True, False, True])

    def model(x):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=mask):
            c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUM)
            pyro.sample("x", dist.Normal(LOCS[c], 1.0), obs=x)

    exact = torch.logsumexp(WEIGHTS.log() + dist.Normal(LOCS, 1.0).log_prob(X.unsqueeze(-1)), -1)[mask].sum()
    assert value(TraceEnum_ELBO(2), model, lambda x: None) == pytest.approx(float(exact), rel=1e-12)
    assert value(IWAE(2), model, lambda x: None) == pytest.approx(float(exact), rel=1e-12)


def test_a_mask_leaves_the_guides_probabilities_normalised():
    """The latent of the second datum is masked, its observation is not: the average is still under q."""
    mask = torch.tensor([True, False, True])
    logits = torch.tensor([[0.3, 0.1, -0.4]]).expand(3, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            with pyro.poutine.mask(mask=mask):
                c = pyro.sample("c", dist.Categorical(WEIGHTS))
            pyro.sample("x", dist.Normal(LOCS[c], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=mask):
            pyro.sample("c", dist.Categorical(logits=logits))

    q = torch.softmax(logits, -1)
    terms = dist.Normal(LOCS, 1.0).log_prob(X.unsqueeze(-1)) + mask.unsqueeze(-1) * (WEIGHTS.log() - q.log())
    assert value(TraceEnum_ELBO(), model, guide) == pytest.approx(float((q * terms).sum()), rel=1e-12)
