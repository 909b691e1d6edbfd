"""Discrete latents taken exactly, in model and guide, against closed forms and sums by hand."""

from __future__ import annotations

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
from jensen.inference.pair.program import Program
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
