"""Enumerated traces contracted to per-datum terms: corners that the objectives' tests do not reach."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from jensen.inference import TraceEnum_ELBO
from jensen.inference.pair.program import Program
from jensen.inference.pair.terms import evaluate
from jensen.models import GaussianMixture

SUM = {"enumerate": "parallel"}
WEIGHTS = torch.tensor([0.2, 0.8], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _float64(float64):
    pass


def nothing(**batch):
    return None


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("components", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 3])
def test_sizes_of_one_are_no_special_case(rows, components, count):
    model, x = GaussianMixture(components, 2), torch.randn(rows, 2)
    terms = evaluate(Program(model), {"x": x}, num_particles=count)
    torch.testing.assert_close(terms.log_weight_local, model.log_evidence({"x": x}).expand(count, rows))


@pytest.mark.parametrize("documents", [1, 3])
@pytest.mark.parametrize("words", [1, 4])
def test_inner_plates_of_size_one(documents, words):
    probs = torch.tensor([[0.7, 0.3], [0.1, 0.9]])

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            kind = pyro.sample("kind", dist.Categorical(WEIGHTS), infer=SUM)
            with pyro.plate("words", x.shape[1], dim=-1):
                c = pyro.sample("c", dist.Categorical(Vindex(probs)[kind]), infer=SUM)
                pyro.sample("x", dist.Normal(3.0 * c, 1.0), obs=x)

    x = torch.randn(documents, words)
    per_word = (
        probs.log()[:, None, None] + dist.Normal(torch.tensor([0.0, 3.0]), 1.0).log_prob(x.unsqueeze(-1))
    ).logsumexp(-1)
    exact = (WEIGHTS.log()[:, None] + per_word.sum(-1)).logsumexp(0)
    torch.testing.assert_close(evaluate(Program(model, nothing), {"x": x}).log_weight_local[0], exact)


def test_independent_groups_and_untouched_sites():
    """Two latents with data of their own, and a site that depends on neither, keep their own parts."""

    def model(x, y):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Categorical(WEIGHTS), infer=SUM)
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.3)), infer=SUM)
            pyro.sample("x", dist.Normal(a.double(), 1.0), obs=x)
            pyro.sample("y", dist.Normal(b, 1.0), obs=y)
            pyro.sample("free", dist.Normal(0.0, 1.0), obs=x + y)

    x, y = torch.randn(3), torch.randn(3)
    terms = evaluate(Program(model, nothing), {"x": x, "y": y})
    states = torch.tensor([0.0, 1.0])
    first = (WEIGHTS.log() + dist.Normal(states, 1.0).log_prob(x.unsqueeze(-1))).logsumexp(-1)
    second = (torch.tensor([0.7, 0.3]).log() + dist.Normal(states, 1.0).log_prob(y.unsqueeze(-1))).logsumexp(-1)
    assert set(terms.sites) == {"a*b", "free"}
    torch.testing.assert_close(terms.sites["a*b"].log_p[0], first + second)
    torch.testing.assert_close(terms.log_likelihood[0], first + second + dist.Normal(0.0, 1.0).log_prob(x + y))


def test_an_impossible_state_adds_nothing_and_keeps_gradients_finite():
    logits = torch.nn.Parameter(torch.tensor([0.3, -0.1]))

    def model(x):
        with pyro.plate("data", len(x)):
            weights = torch.cat([torch.softmax(logits, 0), torch.zeros(1)])
            c = pyro.sample("c", dist.Categorical(weights), infer=SUM)
            pyro.sample("x", dist.Normal(c.double(), 1.0), obs=x)

    x = torch.randn(4)
    bound = TraceEnum_ELBO().bound(Program(model, nothing), {"x": x})
    exact = (
        torch.softmax(logits, 0).log() + dist.Normal(torch.tensor([0.0, 1.0]), 1.0).log_prob(x.unsqueeze(-1))
    ).logsumexp(-1)
    assert float(bound.bound) == pytest.approx(float(exact.sum().detach()), rel=1e-10)
    gradient = torch.autograd.grad(bound.surrogate, logits)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(exact.sum(), logits)[0])


def test_a_guide_that_rules_a_state_out():
    """q(c) = 0 times log p(c) = -inf is zero."""

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.0)))
            pyro.sample("x", dist.Normal(c, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("c", dist.Bernoulli(torch.tensor(0.0)))

    x = torch.randn(3)
    found = float(TraceEnum_ELBO().bound(Program(model, guide), {"x": x}).bound)
    assert found == pytest.approx(float(dist.Normal(0.0, 1.0).log_prob(x).sum()), rel=1e-5)


def test_guide_latents_that_depend_on_each_other():
    """q(a) q(b | a), both enumerated: every term is averaged under the joint."""
    table = torch.tensor([[0.7, 0.3], [0.2, 0.8]])

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Categorical(torch.tensor([0.5, 0.5])))
            b = pyro.sample("b", dist.Categorical(Vindex(table.flip(0))[a]))
            pyro.sample("x", dist.Normal(a + 2.0 * b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Categorical(WEIGHTS), infer=SUM)
            pyro.sample("b", dist.Categorical(Vindex(table)[a]), infer=SUM)

    x = torch.randn(3)
    exact = torch.zeros(3)
    for a in (0, 1):
        for b in (0, 1):
            log_q = WEIGHTS[a].log() + table[a, b].log()
            log_p = torch.tensor(0.5).log() + table.flip(0)[a, b].log() + dist.Normal(a + 2.0 * b, 1.0).log_prob(x)
            exact = exact + log_q.exp() * (log_p - log_q)
    for count in (1, 3):
        terms = evaluate(Program(model, guide), {"x": x}, num_particles=count)
        torch.testing.assert_close(terms.log_weight_local, exact.expand(count, 3))


def test_a_global_guide_latent_above_local_data_scales_with_mini_batches():
    from jensen.inference import minibatch

    def model(x):
        a = pyro.sample("a", dist.Bernoulli(torch.tensor(0.4)))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a, 1.0), obs=x)

    def guide(x):
        pyro.sample("a", dist.Bernoulli(torch.tensor(0.7)), infer=SUM)

    x, states, q = torch.randn(6), torch.tensor([0.0, 1.0]), torch.tensor([0.3, 0.7])
    prior = (q * (torch.tensor([0.6, 0.4]).log() - q.log())).sum()
    like = (q * dist.Normal(states, 1.0).log_prob(x.unsqueeze(-1))).sum(-1)
    with minibatch(6):
        found = float(TraceEnum_ELBO().bound(Program(model, guide), {"x": x[:2]}).bound)
    assert found == pytest.approx(float(prior + 3 * like[:2].sum()), rel=1e-10)
