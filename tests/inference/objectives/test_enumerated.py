"""Discrete latents taken exactly, in model and guide, against closed forms and sums by hand."""

from __future__ import annotations

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex
from torch import nn

from jensen.inference import (
    IWAE,
    STL,
    BetaELBO,
    DReG,
    ModelError,
    Renyi,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    minibatch,
)
from jensen.inference.program import Program
from jensen.models import GaussianMixture

SUM = {"enumerate": "parallel"}
X = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
LOCS = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)


def value(objective, model, guide, x=X, size=None):
    with minibatch(size or len(x)):
        return float(objective.bound(Program(model, guide), {"x": x}).bound)


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "spherical"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "objective", [TraceEnum_ELBO(), TraceEnum_ELBO(3), Trace_ELBO(), IWAE(2), Renyi(0.5, 2)], ids=repr
)
def test_the_mixture_bound_is_its_likelihood(covariance, dtype, objective):
    torch.manual_seed(0)
    model = GaussianMixture(3, 2, covariance=covariance).to(dtype)
    x = torch.randn(40, 2, dtype=dtype) * 2
    exact = model.log_evidence({"x": x}).sum()
    bound = objective.bound(Program(model), {"x": x})
    assert float(bound.bound) == pytest.approx(float(exact.detach()), rel=1e-12 if dtype == torch.float64 else 1e-5)
    if dtype == torch.float64:
        parameters = list(model.parameters())
        ours, theirs = torch.autograd.grad(bound.surrogate, parameters), torch.autograd.grad(exact, parameters)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_the_terms_of_a_mixture_are_per_datum(numerics):
    model = GaussianMixture(3, 2)
    x = torch.randn(7, 2)
    terms = numerics.terms(TraceEnum_ELBO(), Program(model), {"x": x}, 4)
    (site,) = terms.sites.values()
    assert (site.kind, site.local, site.name) == ("marginal", True, "assignment")
    assert site.log_p.shape == (4, 7)
    torch.testing.assert_close(terms.log_likelihood[0], model.log_evidence({"x": x}))


def joint(c, z, x):
    return WEIGHTS[c].log() + dist.Normal(LOCS[c], 1.0).log_prob(z) + dist.Normal(z, 0.8).log_prob(x)


def mixed_model(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUM)
        z = pyro.sample("z", dist.Normal(LOCS[c], 1.0))
        pyro.sample("x", dist.Normal(z, 0.8), obs=x)


def continuous_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.5 * x, 0.9))


EVIDENCE = torch.logsumexp(WEIGHTS.log() + dist.Normal(LOCS, 1.64**0.5).log_prob(X.unsqueeze(-1)), -1)


def test_a_summed_latent_above_a_continuous_one(numerics):
    """p(z | c) with `c` summed out and `z` from the guide."""
    program = Program(mixed_model, continuous_guide)
    terms = numerics.terms(Trace_ELBO(), program, {"x": X}, 5)
    z = terms.values["z"]
    by_hand = torch.stack([WEIGHTS[c].log() + dist.Normal(LOCS[c], 1.0).log_prob(z) for c in range(3)]).logsumexp(0)
    by_hand = by_hand + dist.Normal(z, 0.8).log_prob(X) - dist.Normal(0.5 * X, 0.9).log_prob(z)
    torch.testing.assert_close(terms.log_weight_local, by_hand)
    for objective in (
        Trace_ELBO(4),
        TraceEnum_ELBO(4),
        TraceMeanField_ELBO(4),
        STL(4),
        IWAE(4),
        DReG(4),
        Renyi(0.5, 4),
    ):
        numerics.at_most(numerics.bounds(objective, program, {"x": X}, 200), EVIDENCE.sum())
    assert value(IWAE(20_000), mixed_model, continuous_guide) == pytest.approx(float(EVIDENCE.sum()), abs=0.05)


class MixedGuide(nn.Module):
    """q(c | x) enumerated, then q(z | c, x), which has one draw for every value of c."""

    def __init__(self, infer=SUM):
        super().__init__()
        torch.manual_seed(3)
        self.logits, self.loc, self.infer = nn.Parameter(torch.randn(3, 3).double()), nn.Parameter(LOCS.clone()), infer

    def forward(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=self.logits), infer=self.infer)
            pyro.sample("z", dist.Normal(0.6 * Vindex(self.loc)[c] + 0.3 * x, 0.7))


def test_guide_enumeration_against_brute_force(numerics):
    """sum_c q(c) E_{q(z | c)} [log p - log q], with the same draws of z for each c."""
    guide = MixedGuide()
    terms = numerics.terms(Trace_ELBO(), Program(mixed_model, guide), {"x": X}, 1)
    z = terms.values["z"][0]
    assert z.shape == (3, 3)  # one draw for each value of c and each datum
    log_q = torch.log_softmax(guide.logits, -1).T
    total = torch.zeros(3)
    for c in range(3):
        log_qz = dist.Normal(0.6 * guide.loc[c] + 0.3 * X, 0.7).log_prob(z[c])
        total = total + log_q[c].exp() * (joint(c, z[c], X) - log_q[c] - log_qz)
    torch.testing.assert_close(terms.log_weight_local[0], total)


@pytest.mark.parametrize(
    "objective", [Trace_ELBO(), TraceEnum_ELBO(), STL(), BetaELBO(1.0), TraceMeanField_ELBO()], ids=repr
)
def test_enumerated_and_sampled_guides_agree_in_value_and_gradient(objective, numerics):
    exact, sampled = MixedGuide(), MixedGuide(None)
    program = Program(mixed_model, exact)
    objective.check(program.structure({"x": X}))
    ours = numerics.gradients(objective, program, {"x": X}, exact.parameters(), 200)
    reference = numerics.gradients(Trace_ELBO(30), Program(mixed_model, sampled), {"x": X}, sampled.parameters(), 200)
    numerics.agree(ours, reference)
    values = numerics.bounds(objective, program, {"x": X}, 500)
    numerics.agree(values, numerics.bounds(Trace_ELBO(4), Program(mixed_model, sampled), {"x": X}, 500))


def test_importance_weights_sum_over_the_guides_enumerated_site(numerics):
    """sum_c p(x, c, z_c) / q(z_c | c) is an unbiased estimate of p(x), whatever q(c) is."""
    program = Program(mixed_model, MixedGuide())
    weights = numerics.terms(IWAE(), program, {"x": X}, 4000).log_weight_local
    numerics.agree(weights.detach().exp(), EVIDENCE.exp())
    numerics.at_most(numerics.bounds(IWAE(5), program, {"x": X}, 300), EVIDENCE.sum())


def test_what_cannot_be_taken_exactly_is_refused(numerics):
    program = Program(mixed_model, MixedGuide())
    structure = program.structure({"x": X})
    with pytest.raises(ModelError, match=r"cannot take the guide's enumerated site `c` exactly"):
        Renyi(0.5, 3).check(structure)
    with pytest.raises(ModelError, match="`DReG` needs one draw of `z` per particle"):
        DReG(3).bound(program, {"x": X})
    with pytest.raises(ModelError, match=r"this model has none"):
        TraceEnum_ELBO().check(
            Program(lambda x: pyro.sample("x", dist.Normal(0.0, 1.0).expand([3]).to_event(1), obs=x)).structure(
                {"x": X}
            )
        )
    with pytest.raises(ModelError, match=r"`BetaELBO` needs the KL of every latent by itself, and `c` is summed out"):
        BetaELBO(0.5).check(Program(mixed_model, continuous_guide).structure({"x": X}))

    def given_enumerated(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(WEIGHTS), infer=SUM)
            pyro.sample("b", dist.Bernoulli(0.2 + 0.2 * c))

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(WEIGHTS))
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample("x", dist.Normal(b + c, 1.0), obs=x)

    with pytest.raises(ModelError, match=r"draws `b` \(Bernoulli\), which has no pathwise gradient, given a site"):
        Trace_ELBO().bound(Program(model, given_enumerated), {"x": X})
    numerics.at_most(torch.stack([TraceEnum_ELBO().bound(Program(model, given_enumerated), {"x": X}).bound] * 2), 0.0)


def test_a_finite_guide_site_is_enumerated_and_an_infinite_one_sampled(numerics):
    def model(x):
        with pyro.plate("data", len(x)):
            n = pyro.sample("n", dist.Poisson(torch.tensor(2.0)))
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample("x", dist.Normal(b + n, 1.0), obs=x)

    rate = nn.Parameter(torch.tensor([0.5, 0.6, 1.7]))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("n", dist.Poisson(rate))
            pyro.sample("b", dist.Bernoulli(torch.tensor(0.3)))

    samples = numerics.gradients(TraceEnum_ELBO(20), Program(model, guide), {"x": X}, [rate], 100)
    n, b = torch.arange(30.0).unsqueeze(-1), torch.tensor([0.0, 1.0])
    log_q = dist.Poisson(rate).log_prob(n)
    exact = log_q.exp() * (dist.Poisson(2.0).log_prob(n) - log_q)
    like = (torch.tensor([0.7, 0.3]) * dist.Normal(b + n.unsqueeze(-1), 1.0).log_prob(X.unsqueeze(-1))).sum(-1)
    numerics.agree(samples, torch.autograd.grad((exact + log_q.exp() * like).sum(), rate)[0])


# -- plates and chains ------------------------------------------------------------

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
    from jensen.inference.terms import evaluate

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
