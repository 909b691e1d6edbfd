"""Densities in float32: differences of large numbers are taken in float64, and what cannot be right is said."""

from __future__ import annotations

import warnings

import pandas
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence

from jensen.inference import SVI, Fit, ModelError, TraceMeanField_ELBO, elbo_terms, log_evidence
from jensen.inference.doctor import examine
from jensen.inference.objectives.rounding import compare_precisions
from jensen.inference.pair.densities.double_precision import in_double
from jensen.inference.pair.densities.site_densities import analytic_kl, log_prob_of
from jensen.inference.pair.program import Program
from jensen.models import VAE, BayesianLogisticRegression, GaussianMixture

pytestmark = pytest.mark.usefixtures("doctor_agrees")

COUNTS = torch.poisson(torch.full((300,), 50.0), generator=torch.Generator().manual_seed(0))


def fit(model, data, **options):
    return SVI(**{"steps": 3, "progress": False, "compile": False, "start": "prior"} | options).fit(model, data)


def dispersed(x, location=9.0):
    phi = pyro.sample("phi", dist.LogNormal(location, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.GammaPoisson(phi, phi / 50), obs=x)


def test_the_evidence_of_counts_of_nearly_no_overdispersion():
    log_phi = torch.linspace(-7.0, 25.0, 4_001, dtype=torch.float64)
    phi = log_phi.exp().unsqueeze(-1)
    values = torch.distributions.Normal(9.0, 2.0).log_prob(log_phi)
    values = values + dist.GammaPoisson(phi, phi / 50).log_prob(COUNTS.double()).sum(-1)
    exact = float(torch.trapezoid((values - values.max()).exp(), log_phi).log() + values.max())
    evidence = log_evidence(fit(dispersed, COUNTS, steps=400, lr=0.05), num_particles=4_000)
    assert float(evidence) == pytest.approx(exact, abs=4 * evidence.stderr + 0.01)


LARGE = {
    "GammaPoisson": (dist.GammaPoisson(torch.tensor(2.4e7), torch.tensor(4.8e5)), 55.0),
    "Poisson": (dist.Poisson(torch.tensor(1e6)), 1_000_500.0),
    "NegativeBinomial": (dist.NegativeBinomial(torch.tensor(1e7), logits=torch.tensor(-12.0)), 60.0),
    "BetaBinomial": (dist.BetaBinomial(torch.tensor(1e6), torch.tensor(2e6), 2_000), 650.0),
    "Binomial": (dist.Binomial(torch.tensor(2e6), logits=torch.tensor(-8.0)), 690.0),
    "ZeroInflatedPoisson": (dist.ZeroInflatedPoisson(rate=torch.tensor(1e6), gate=torch.tensor(0.1)), 1_000_200.0),
    "Gamma": (dist.Gamma(torch.tensor(1e6), torch.tensor(1e5)), 10.01),
    "Beta": (dist.Beta(torch.tensor(1e6), torch.tensor(3e6)), 0.25),
    "InverseGamma": (dist.InverseGamma(torch.tensor(1e6), torch.tensor(1e7)), 10.01),
    "StudentT": (dist.StudentT(torch.tensor(1e8), 0.0, 1.0), 1.5),
    "VonMises": (dist.VonMises(torch.tensor(0.0), torch.tensor(1e6)), 1e-3),
    "masked, of an event": (dist.Poisson(torch.full((3,), 1e6)).mask(True).to_event(1), [1e6, 1e6 + 1, 1e6 + 200]),
    "mixture": (dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Poisson(torch.tensor([1e6, 2e6]))), 1e6),
    "Multinomial": (dist.Multinomial(10**7, logits=torch.zeros(3)), [3333333.0, 3333333.0, 3333334.0]),
    "Dirichlet": (dist.Dirichlet(torch.full((3,), 1e6)), [0.25, 0.25, 0.5]),
    "DirichletMultinomial": (dist.DirichletMultinomial(torch.full((3,), 1e6), 10**6), [4e5, 3e5, 3e5]),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_numbers_do_not_cancel(name):
    fn, value = LARGE[name]
    value = torch.tensor(value)
    node = {"fn": fn, "value": value, "args": (), "kwargs": {}, "mask": None, "precise": True}
    exact = in_double(fn).log_prob(value.double())
    assert float(log_prob_of(node)) == pytest.approx(float(exact), rel=1e-6)
    assert log_prob_of(node).dtype == torch.float32
    assert abs(float(log_prob_of(node | {"precise": False}) - exact)) > 1e-3  # what there was to mend


def test_the_closed_form_kl_of_sharp_distributions():
    p, q = dist.Gamma(torch.tensor(1e6), torch.tensor(1e5)), dist.Gamma(torch.tensor(1.001e6), torch.tensor(1e5))
    nodes = [{"fn": fn, "value": torch.tensor(10.0), "mask": None, "precise": True} for fn in (q, p)]
    exact = float(kl_divergence(in_double(q), in_double(p)))
    assert exact == pytest.approx(0.5 * 1e-3**2 * 1e6, rel=1e-2)  # of two normals, nearly
    assert float(analytic_kl(*nodes)) == pytest.approx(exact, rel=1e-5)


def test_gradients_vectorised_draws_and_compiled_steps():
    class Sharp(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_size = nn.Parameter(torch.tensor(14.0))

        def forward(self, x):
            mean = pyro.sample("mean", dist.Normal(50.0, 0.1))
            size = self.log_size.exp()
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.GammaPoisson(size, size / mean), obs=x)

    eager = fit(Sharp(), {"x": COUNTS}, steps=60, log_every=20)
    traced = fit(Sharp(), {"x": COUNTS}, steps=60, log_every=20, compile="trace")
    double = fit(Sharp(), {"x": COUNTS}, steps=60, log_every=20, dtype=torch.float64)
    for other in (traced, double):  # the draws of another number type are others, and move the bound by a nat
        assert list(eager.history["bound"]) == pytest.approx(list(other.history["bound"]), abs=3.0)


def test_many_small_numbers_stay_in_float32():
    def model(x):
        rate = pyro.sample("rate", dist.LogNormal(torch.zeros(100), 0.1).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)

    def sites(x):
        def guide(x):
            pyro.sample("rate", dist.LogNormal(torch.zeros(100), 0.1).to_event(1))

        return Program(model, guide).structure({"x": x}).sites

    assert not sites(torch.ones(200, 100))["x"].precise
    assert sites(torch.full((200, 100), 5e3))["x"].precise
    assert sites(torch.ones(3, 100))["x"].precise


# what cannot be right


class Cancelling(dist.TorchDistribution):
    """A GammaPoisson as one writes it."""

    support, arg_constraints = dist.constraints.nonnegative_integer, {}

    def __init__(self, shape, rate):
        self.shape_, self.rate = torch.broadcast_tensors(shape, rate)
        super().__init__(self.shape_.shape)

    def expand(self, batch_shape, _instance=None):
        return Cancelling(self.shape_.expand(batch_shape), self.rate.expand(batch_shape))

    def log_prob(self, x):
        a, b = self.shape_, self.rate
        return (a + x).lgamma() - a.lgamma() - (x + 1).lgamma() + a * (b / (1 + b)).log() - x * (1 + b).log()


def own_distribution(x, location=9.0):
    phi = pyro.sample("phi", dist.LogNormal(location, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", Cancelling(phi, phi / 50), obs=x)


def by_factor(x, location=15.0):
    phi = pyro.sample("phi", dist.LogNormal(location, 2.0))
    with pyro.plate("data", len(x)):
        pyro.factor("x", Cancelling(phi, phi / 50).log_prob(x))


def field(x):
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.1))
    times = torch.arange(30.0)
    kernel = 1e3 * scale * torch.exp(-((times[:, None] - times) ** 2) / 60) + 1e-3 * torch.eye(30)
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.MultivariateNormal(torch.zeros(30), kernel), obs=x)


def unnormalised(x):
    rate = pyro.sample("rate", dist.LogNormal(4.0, 0.1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", Unnormalised(rate), obs=x)


class Unnormalised(dist.Poisson):
    def log_prob(self, value):
        return value * self.rate.log() - self.rate


def test_a_log_mass_above_zero_stops_fits_scores_and_the_doctor():
    with pytest.raises(ModelError, match=r"log mass of `x` reaches .*, above 0.*Cancelling.*float32.*torch.float64"):
        fit(lambda x: own_distribution(x, 19.0), {"x": COUNTS})
    fitted = fit(own_distribution, COUNTS)
    for score in (log_evidence, elbo_terms):
        with pytest.raises(ModelError, match=r"log mass of `x` reaches"):
            score(Fit("SVI", {}, own_distribution, _wide, pandas.DataFrame(), data=fitted.data), num_particles=64)
    with pytest.raises(ModelError, match=r"log mass of `x` reaches .*not normalised.*Add its constants"):
        fit(unnormalised, COUNTS)
    assert [(f.code, f.where) for f in examine(unnormalised, None, COUNTS).faults] == [("impossible-mass", "x")]


def _wide(x):
    pyro.sample("phi", dist.LogNormal(18.0, 0.1))


@pytest.mark.parametrize(("model", "data"), [(by_factor, COUNTS), (field, torch.randn(2, 30))])
def test_a_bound_that_rounding_decides_is_warned_of(model, data):
    with pytest.warns(UserWarning, match=r"In float32 the `log p` of `x`.* in float64 .*dtype=torch.float64"):
        fit(model, data)
    report = examine(model, None, data)
    assert [(f.code, f.where) for f in report.warnings if f.code == "float32"] == [("float32", "x")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, data, dtype=torch.float64)


def test_sound_pairs_and_random_ones_are_not_warned_of():
    def random(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z + torch.randn(len(x)), 1.0), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0))

    program = Program(random, guide)
    assert compare_precisions(program, TraceMeanField_ELBO(), {"x": torch.randn(20)}) == []
    for model, data in (
        (VAE(30, 2, hidden=(8,)), torch.rand(40, 30).round()),
        (GaussianMixture(2, 2), torch.randn(50, 2)),
        (BayesianLogisticRegression(3), {"x": torch.randn(40, 3), "y": torch.ones(40)}),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit(model, data)


def test_it_leaves_the_pair_and_the_generator_alone():
    program = Program(VAE(30, 2, hidden=(8,)))
    before = {name: value.clone() for name, value in program.state_dict().items()}
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    compare_precisions(program, TraceMeanField_ELBO(), {"x": torch.ones(40, 30)})
    assert torch.get_default_dtype() == dtype
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in program.state_dict().items():
        assert value.dtype == before[name].dtype and torch.equal(value, before[name])
