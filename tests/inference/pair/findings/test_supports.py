"""Supports of latents: what a guide draws has a density, also where supports move, close up or have no end."""

from __future__ import annotations

import math

import pandas
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import SVI, DataError, Fit, ModelError, NonFiniteError, log_evidence, pareto_k
from jensen.inference.doctor import examine
from jensen.inference.guides.wrapped_normal import WrappedNormal
from jensen.models import LatentVariableModel

pytestmark = pytest.mark.usefixtures("doctor_agrees")

X = torch.tensor([0.5, 1.0, 2.0])


def fit(model, data, guide=None, **options):
    options = {"steps": 3, "lr": 0.05, "progress": False, "compile": False, "guide": guide} | options
    return SVI(**options).fit(model, data)


def fit_of(model, guide, **data):
    """A fit without any fitting."""
    return Fit(method="SVI", config={}, model=model, guide=guide, history=pandas.DataFrame(), data=data)


def faults(model, data, guide=None):
    return [(f.code, f.where) for f in examine(model, guide, data).faults]


def normal(name="z"):
    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc, self.log_scale = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.0))

        def forward(self, x):
            pyro.sample(name, dist.Normal(self.loc, self.log_scale.exp()))

    return Guide()


def integral(log_density, low, high, points=20_001):
    """Of exp(log_density) by the trapezoid rule, in logarithms."""
    grid = torch.linspace(low, high, points, dtype=torch.float64)
    values = log_density(grid)
    return float(torch.trapezoid((values - values.max()).exp(), grid).log() + values.max())


# a prior whose support the guide leaves


def exponential(x):
    z = pyro.sample("z", dist.Exponential(1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


@pytest.mark.parametrize("use", [fit, lambda model, x, guide: log_evidence(fit_of(model, guide, x=x))])
def test_a_normal_guide_on_a_positive_latent_is_refused_by_fits_and_scores(use):
    with pytest.raises(ModelError, match=r"`z` from a Normal \(real\).*Exponential only has.*positive.*LogNormal"):
        use(exponential, X, normal())


def test_bounded_priors_are_within_reach_of_default_guides():
    def model(x):
        a = pyro.sample("a", dist.Uniform(0.0, 10.0))
        b = pyro.sample("b", dist.Uniform(-3.0, 0.7))
        c = pyro.sample("c", dist.Beta(2.0, 2.0))
        d = pyro.sample("d", dist.Uniform(torch.tensor([0.1, 1e6]), torch.tensor([0.7, 1e6 + 1.0])).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a + b + c + d.sum(), 1.0), obs=x)

    for guide in (None, "multivariate_normal"):
        report = examine(model, guide, X)
        assert report.ok and not report.warnings, (report.faults, report.warnings)


def evidence_of(prior, low, high):
    """Of `X` with unit noise about a latent with this prior, by quadrature and from a fit with the default guide."""

    def model(x):
        z = pyro.sample("z", prior)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def joint(z):
        return prior.log_prob(z.float()).double() + torch.distributions.Normal(z, 1.0).log_prob(X[:, None]).sum(0)

    return integral(joint, low, high), log_evidence(fit(model, X, steps=300), num_particles=20_000)


PRIORS = {  # what torch declares of them is a set around their support, or one without a bijection
    "shifted": (
        dist.TransformedDistribution(dist.Exponential(1.0), [dist.transforms.AffineTransform(1.0, 3.0)]),
        1,
        40,
    ),
    "negative": (
        dist.TransformedDistribution(dist.Exponential(1.0), [dist.transforms.AffineTransform(0.0, -1.0)]),
        -40,
        0,
    ),
    "mixture": (
        dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(torch.tensor([0.0, 1.0]), 1.0)),
        -20,
        20,
    ),
}


@pytest.mark.parametrize("name", PRIORS)
def test_default_guides_are_on_the_true_support_of_a_prior(name):
    prior, low, high = PRIORS[name]
    exact, evidence = evidence_of(prior, low + 1e-6, high - 1e-6)
    assert float(evidence) == pytest.approx(exact, abs=4 * evidence.stderr + 2e-3)


def test_a_vector_from_a_mixture_gets_a_default_guide():
    def model(x):
        parts = dist.MultivariateNormal(torch.zeros(2, 2), torch.eye(2))
        z = pyro.sample("z", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), parts))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z.sum(), 1.0), obs=x)

    assert fit(model, X).posterior(4)["z"].shape == (4, 2)


# angles


def compass(x, kappa=2.0):
    t = pyro.sample("t", dist.VonMises(torch.tensor(3.0), kappa))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(2.0 * t.cos(), 0.7), obs=x)


def exact_compass(x):
    prior, x = torch.distributions.VonMises(torch.tensor(3.0).double(), 2.0), x.double()

    def joint(t):
        return prior.log_prob(t) + torch.distributions.Normal(2.0 * t.cos(), 0.7).log_prob(x[:, None]).sum(0)

    return integral(joint, -math.pi, math.pi)


def test_the_default_guide_wraps_around_a_circle():
    """The posterior lies across the seam, on both sides of pi."""
    x = torch.tensor([-2.1, -1.9, -2.3])
    fitted = fit(compass, x, steps=300)
    evidence = log_evidence(fitted, num_particles=20_000)
    assert float(evidence) == pytest.approx(exact_compass(x), abs=4 * evidence.stderr + 1e-3)
    assert float(pareto_k(fitted)) < 0.7
    draws = fitted.posterior(200)["t"]
    assert bool((draws.abs() <= math.pi + 1e-6).all() and (draws < 0).any() and (draws > 0).any())


@pytest.mark.parametrize("guide", ["multivariate_normal", "flow", pyro.infer.autoguide.AutoNormal, normal("t")])
def test_a_guide_on_the_line_is_refused_for_an_angle(guide):
    with pytest.raises(ModelError, match=r'`t` is an angle: the density of its VonMises.*guide "normal".*VonMises'):
        fit(compass, X, guide)


def test_a_guide_on_one_turn_serves_an_angle():
    def turn(x):
        pyro.sample("t", dist.VonMises(pyro.param("at", torch.tensor(2.5)), 2.0))

    def interval(x):
        pyro.sample("t", dist.Uniform(-math.pi, math.pi))

    x = torch.tensor([-2.1, -1.9, -2.3])
    evidence = log_evidence(fit_of(compass, interval, x=x), num_particles=20_000)
    assert float(evidence) == pytest.approx(exact_compass(x), abs=4 * evidence.stderr)
    assert not faults(compass, x, turn)
    fit(compass, x, pyro.infer.autoguide.AutoDelta)


def test_vectors_of_angles_and_distributions_of_ones_own():
    class Cardioid(dist.TorchDistribution):
        support, arg_constraints = dist.constraints.real, {}

        def log_prob(self, value):
            return torch.log1p(0.8 * value.cos()) - math.log(2 * math.pi)

        def sample(self, sample_shape=()):
            return torch.zeros(self.shape(sample_shape))

    def model(x):
        t = pyro.sample("t", dist.VonMises(torch.zeros(2), 2.0).to_event(1))
        u = pyro.sample("u", Cardioid())
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(t.cos().sum() + u.cos(), 1.0), obs=x)

    assert fit(model, X).posterior(5)["t"].shape == (5, 2)
    assert {where for code, where in faults(model, X, "multivariate_normal") if code == "circle"} == {"t", "u"}
    assert not faults(model, X)


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 40.0])
def test_a_wrapped_normal_is_a_density_and_draws_from_it(scale):
    q = WrappedNormal(torch.tensor(3.0).double(), torch.tensor(scale).double())
    assert integral(q.log_prob, -math.pi, math.pi) == pytest.approx(0.0, abs=1e-6)
    draws = q.rsample((20_000,))
    moment = math.exp(-0.5 * min(scale, 4.5) ** 2) * math.cos(3.0)
    assert float(draws.cos().mean()) == pytest.approx(moment, abs=4 / math.sqrt(20_000))


# supports that move


def triangle(x):
    a = pyro.sample("a", dist.Uniform(0.0, 1.0))
    b = pyro.sample("b", dist.Uniform(0.0, 1.0 - a))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(a + b, 0.5), obs=x)


@pytest.mark.parametrize("guide", [None, "multivariate_normal"])
def test_a_support_that_depends_on_a_latent_needs_a_guide_that_follows(guide):
    with pytest.raises(ModelError, match=r"support of `b` in the model depends on the latent `a`.*low \+ \(high"):
        fit(triangle, X, guide)
    assert faults(triangle, X, guide) == [("moving-support", "b")]


def test_a_guide_that_follows_is_right():
    def guide(x):
        a = pyro.sample("a", dist.Uniform(0.0, 1.0))
        pyro.sample("b", dist.Uniform(0.0, 1.0 - a))

    x = X.double()
    a, u = torch.meshgrid(*[(torch.arange(400).double() + 0.5) / 400] * 2, indexing="ij")
    total = a + u * (1 - a)
    logs = torch.distributions.Normal(total.unsqueeze(-1), 0.5).log_prob(x).sum(-1)
    exact = float(logs.logsumexp((0, 1)) - math.log(400 * 400))
    evidence = log_evidence(fit_of(triangle, guide, x=X), num_particles=20_000)
    assert float(evidence) == pytest.approx(exact, abs=4 * evidence.stderr)
    assert faults(triangle, X, guide) == [("no-parameters", "")]


def test_a_prior_whose_support_has_a_learned_bound():
    class Bounded(LatentVariableModel):
        def __init__(self):
            super().__init__()
            self.top = nn.Parameter(torch.tensor(3.0))

        def model(self, x):
            z = pyro.sample("z", dist.Uniform(0.0, self.top))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ModelError, match="support of `z` in the model depends on parameters of the model"):
        fit(Bounded(), X)


class Shifted(LatentVariableModel):
    """t ~ N(0, 2), x ~ t + Exponential(1): torch's density of x knows nothing of the bound."""

    def model(self, x):
        t = pyro.sample("t", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(x)):
            shift = dist.transforms.AffineTransform(t, 1.0)
            pyro.sample("x", dist.TransformedDistribution(dist.Exponential(1.0), [shift]), obs=x)


def exact_shifted(x):
    x = x.double()
    return integral(
        lambda t: torch.distributions.Normal(0.0, 2.0).log_prob(t) - (x.sum() - len(x) * t), -20.0, float(x.min())
    )


def test_draws_that_leave_data_without_a_density_have_no_weight():
    evidence = log_evidence(fit_of(Shifted(), normal("t"), x=X), num_particles=20_000)
    assert float(evidence) == pytest.approx(exact_shifted(X), abs=4 * evidence.stderr)


def test_such_a_fit_is_refused_at_the_first_step_or_when_it_comes_to_it():
    with pytest.raises((ModelError, NonFiniteError), match="depends on the latent `t`"):
        fit(Shifted(), X, steps=400)

    def below(x):
        loc, scale = pyro.param("loc", torch.tensor(0.0)), pyro.param("scale", torch.tensor(1.0))
        down = [dist.transforms.ExpTransform(), dist.transforms.AffineTransform(x.min(), -1.0)]
        pyro.sample("t", dist.TransformedDistribution(dist.Normal(loc, scale.exp()), down))

    fitted = fit(Shifted(), X, lambda model: below, steps=300)
    evidence = log_evidence(fitted, num_particles=20_000)
    assert float(evidence) == pytest.approx(exact_shifted(X), abs=4 * evidence.stderr)


class Pareto(LatentVariableModel):
    def __init__(self, scale):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    def model(self, x):
        a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Pareto(self.log_scale.exp(), a), obs=x)


def test_a_learned_bound_starts_and_stays_where_the_data_are():
    with pytest.raises(DataError, match=r"0\.5 in row 0.*Pareto.*depends on parameters of the model.*Start"):
        fit(Pareto(0.7), X)
    with pytest.raises(NonFiniteError, match=r"`log p` of the site `x`.*support depends on parameters"):
        fit(Pareto(0.3), X, steps=400)  # the likelihood rises up to the smallest datum, and ends there


def test_supports_that_depend_on_summed_out_latents():
    def model(x):
        p = pyro.sample("p", dist.Beta(2.0, 2.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(p))
            pyro.sample("x", dist.Uniform(2.0 * z, 2.0 * z + 1.5), obs=x)

    x = torch.tensor([0.4, 1.2, 2.5, 3.0, 0.1])
    fitted = fit(model, x, steps=200)
    prior = torch.distributions.Beta(torch.tensor(2.0).double(), 2.0)
    exact = integral(lambda p: prior.log_prob(p) + 2 * p.log() + 3 * (1 - p).log(), 1e-6, 1 - 1e-6) - 5 * math.log(1.5)
    evidence = log_evidence(fitted, num_particles=5_000)
    assert float(evidence) == pytest.approx(exact, abs=4 * evidence.stderr + 1e-4)


# no prior at all


class Flat(LatentVariableModel):
    def model(self, x):
        a = pyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), (2,)))
        s = pyro.sample("s", dist.ImproperUniform(dist.constraints.positive, (), ()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a.sum(), 1.0 + 0.0 * s).to_event(0), obs=x)
        pyro.sample("held", dist.Normal(a[0], 1.0), obs=torch.tensor(0.0))
        pyro.sample("tame", dist.Gamma(2.0, s), obs=torch.tensor(1.0))


@pytest.mark.parametrize("guide", [None, "multivariate_normal"])
def test_an_improper_prior_is_fitted_and_has_no_evidence(guide):
    fitted = fit(Flat(), X, guide, steps=1_500, lr_schedule=lambda done: 1.0 - done)
    draws = fitted.posterior(4_000)
    assert float(draws["a"].sum(-1).mean()) == pytest.approx(float(X.mean()), abs=0.15)
    with pytest.raises(ModelError, match=r"prior of `a` is improper \(ImproperUniform\).*wide Normal"):
        log_evidence(fitted)
    with pytest.raises(ValueError, match=r"`a` has an improper prior .* from which nothing can be drawn"):
        Flat().generate(3, x=X)
    assert set(faults(Flat(), X, guide)) == {("improper-prior", "a"), ("improper-prior", "s")}
