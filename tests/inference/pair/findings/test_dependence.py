"""Data that depend on each other: weights of whole draws, no mini-batches, and never the same value counted N times."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from jensen.inference import IWAE, SVI, elbo_terms, log_evidence
from jensen.inference.doctor import examine
from jensen.inference.errors import ModelError
from jensen.inference.pair.coupling import examine_coupling
from jensen.inference.pair.program import Program
from jensen.models import LatentVariableModel

pytestmark = pytest.mark.usefixtures("doctor_agrees")

X = torch.tensor([0.5, -0.3, 1.2], dtype=torch.float64)
TOTAL = 2.0


def total_observed(x):
    """A global observation of all local draws."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    pyro.sample("tot", dist.Normal(z.sum(), 1.0), obs=x.new_tensor(TOTAL))


def total_latent(x):
    """A global latent drawn after the local ones, with an observation of its own."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    s = pyro.sample("s", dist.Normal(z.sum(), 1.0))
    pyro.sample("tot", dist.Normal(s, 1.0), obs=x.new_tensor(TOTAL))


def neighbours(x):
    """A moving average: each datum depends on its own draw and on that of the datum before it."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z + z.roll(1), 1.0), obs=x)


def written_after(x):
    """A global prior that stands below the plate and depends on nothing in it."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    pyro.sample("free", dist.Normal(0.0, 1.0), obs=x.new_tensor(0.7))


def _total_evidence(noise: float) -> float:
    covariance = 2.0 * torch.eye(4, dtype=torch.float64)
    covariance[3, :3] = covariance[:3, 3] = 1.0
    covariance[3, 3] = 3.0 + noise
    seen = torch.cat([X, X.new_tensor([TOTAL])])
    return float(MultivariateNormal(torch.zeros(4).double(), covariance).log_prob(seen))


def _neighbours_evidence() -> float:
    mix = torch.eye(3, dtype=torch.float64) + torch.eye(3, dtype=torch.float64).roll(1, 0)
    covariance = mix @ mix.mT + torch.eye(3, dtype=torch.float64)
    return float(MultivariateNormal(torch.zeros(3).double(), covariance).log_prob(X))


@pytest.mark.parametrize(
    ("model", "exact"),
    [
        (total_observed, _total_evidence(1.0)),
        (total_latent, _total_evidence(2.0)),
        (neighbours, _neighbours_evidence()),
    ],
)
def test_coupled_draws_are_weighted_together(model, exact, float64):
    fit = SVI(steps=300, lr=0.03, progress=False).fit(model, X)
    for seed in range(3):
        evidence = log_evidence(fit, seed=seed, num_particles=10_000)
        assert abs(evidence.value - exact) < 4 * evidence.stderr + 0.01
        assert evidence.stderr < 0.1
        assert evidence.details["pareto_k"].dim() == 0  # one weight for everything


def test_what_is_only_written_after_stays_per_datum(float64):
    fit = SVI(steps=200, progress=False).fit(written_after, X)
    evidence = log_evidence(fit, num_particles=2_000)
    free = dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.7))
    exact = float(dist.Normal(0.0, math.sqrt(2.0)).log_prob(X).sum() + free)
    assert evidence.details["pareto_k"].shape == (3,)
    assert abs(evidence.value - exact) < 5 * evidence.stderr + 0.01


@pytest.mark.parametrize(
    ("model", "shared", "rows"),
    [
        (total_observed, ("tot",), ()),
        (total_latent, ("s",), ()),
        (neighbours, (), ("x",)),
        (written_after, (), ()),
    ],
)
def test_coupling_is_found_by_moving_draws(model, shared, rows, float64):
    class Guide(nn.Module):
        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(0.5 * x, 1.0))
            if model is total_latent:
                pyro.sample("s", dist.Normal(x.new_tensor(1.0), 1.0))

    x = torch.randn(8, dtype=torch.float64)
    coupling = examine_coupling(Program(model, Guide()), {"x": x})
    assert (coupling.shared, coupling.rows) == (shared, rows)


class Amortised(LatentVariableModel):
    """Local latents with an amortised guide, and an observation of their total."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.1))

    def model(self, x):
        total_observed(x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.slope * x, 1.0))


class Rows(Amortised):
    def model(self, x):
        neighbours(x)


@pytest.mark.parametrize(("model", "site"), [(Amortised, "tot"), (Rows, "x")])
def test_mini_batches_of_them_are_refused(model, site):
    with pytest.raises(ModelError, match=f"density of `{site}` depends on the draws of other data.*Drop `batch_size`"):
        SVI(steps=2, batch_size=6, progress=False).fit(model(), torch.randn(12))


def test_weights_per_datum_are_refused_where_rows_share_draws():
    with pytest.raises(ModelError, match="`IWAE` weights each datum by itself, but the density of `x` at one datum"):
        SVI(IWAE(3), steps=2, progress=False).fit(Rows(), torch.randn(12))


def test_rows_that_are_compared_are_scored_together(float64):
    """A model that centres what it is given has other terms on a part of the data."""

    def centred(x):
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x - x.mean())

    x = torch.randn(40, dtype=torch.float64) + torch.linspace(0, 5, 40, dtype=torch.float64)
    fit = SVI(steps=300, progress=False).fit(centred, x)
    centre = x - x.mean()
    exact = MultivariateNormal(torch.zeros(40), torch.eye(40) + torch.ones(40, 40)).log_prob(centre)
    for max_bytes in (None, 20_000):  # the second has no room for all rows of a few particles
        evidence = log_evidence(fit, num_particles=300, max_bytes=max_bytes)
        assert abs(evidence.value - float(exact)) < 4 * evidence.stderr + 0.02
        assert abs(elbo_terms(fit, num_particles=50, max_bytes=max_bytes).value - float(exact)) < 0.5


def named_otherwise(x, y):
    """Local latents in a plate of another name than the observations."""
    slope = pyro.sample("slope", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("rows", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(slope * x + z, 0.5), obs=y)


def process(x, y):
    """A latent Gaussian process."""
    covariance = torch.exp(-((x[:, None] - x) ** 2)) + 0.1 * torch.eye(len(x))
    f = pyro.sample("f", dist.MultivariateNormal(torch.zeros(len(x)), covariance))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(f, 0.5), obs=y)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (named_otherwise, "`z` has one entry for every datum, outside the plate `data`.*Rename the plate `rows`"),
        (process, "draws `f` as one value over all 6 rows, which depend on each other"),
    ],
)
def test_mini_batches_need_the_rows_in_the_data_plate(model, message):
    x = torch.randn(12)
    with pytest.raises(ModelError, match=f"Mini-batches are not possible with this model.*{message}"):
        SVI(steps=2, batch_size=6, progress=False).fit(model, {"x": x, "y": x})


class Regression(LatentVariableModel):
    """A Gaussian process, observed: one field, one datum."""

    def __init__(self):
        super().__init__()
        self.log_length = nn.Parameter(torch.zeros(()))

    def kernel(self, x):
        return torch.exp(-(((x[:, None] - x) / self.log_length.exp()) ** 2)) + 0.1 * torch.eye(len(x))

    def model(self, x, y=None):
        return pyro.sample("y", dist.MultivariateNormal(torch.zeros(len(x)), self.kernel(x)), obs=y)


class Repeated(Regression):
    """As a plate around it would have it: the whole field, once for every row."""

    def model(self, x, y=None):
        with pyro.plate("data", len(x)):
            return super().model(x, y)


class Chain(LatentVariableModel):
    """An autoregressive loop over the rows."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))

    def model(self, x):
        for t in range(len(x)):
            mean = self.slope * x[t - 1] if t else torch.zeros(())
            pyro.sample(f"x_{t}", dist.Normal(mean, 1.0), obs=x[t])


class RepeatedChain(Chain):
    def model(self, x):
        with pyro.plate("data", len(x)):
            super().model(x)


class RepeatedStates(LatentVariableModel):
    """An observed hidden Markov chain, once for every row of the series."""

    def __init__(self):
        super().__init__()
        self.rates = nn.Parameter(torch.tensor([-1.0, 1.0]))

    def model(self, x):
        with pyro.plate("data", len(x)):
            chain = dist.DiscreteHMM(torch.zeros(2), torch.zeros(2, 2), dist.Normal(self.rates, 1.0), duration=len(x))
            pyro.sample("x", chain, obs=x)


def field():
    x = torch.linspace(0.0, 3.0, 12)
    return {"x": x, "y": torch.sin(x)}


def test_one_field_is_one_datum(float64):
    data = {name: value.double() for name, value in field().items()}
    report = examine(Regression(), None, data)
    assert report.ok, report
    assert [(note.code, note.where) for note in report.notes] == [("dependent-data", "y")]
    assert "together they are one datum" in report.notes[0].message
    assert "leading axis" in report.notes[0].cure
    fit = SVI(steps=30, progress=False).fit(Regression(), data)
    exact = MultivariateNormal(torch.zeros(12), fit.model.kernel(data["x"])).log_prob(data["y"]).detach()
    assert log_evidence(fit).value == pytest.approx(float(exact), abs=1e-9)


def test_a_series_written_as_a_loop_is_one_datum():
    report = examine(Chain(), None, {"x": torch.randn(10)})
    assert report.ok, report
    assert [note.code for note in report.notes] == ["dependent-data"]


@pytest.mark.parametrize("model", [Repeated, RepeatedChain, RepeatedStates])
def test_one_value_in_every_entry_of_the_plate_is_an_error(model):
    data = field() if model is Repeated else {"x": torch.randn(10)}
    size = len(data["x"])
    message = f"is one event of its .*, and the plate `data` around it counts it {size} times"
    with pytest.raises(ModelError, match=message):
        SVI(steps=2, progress=False).fit(model(), data)
    report = examine(model(), None, data)
    assert "counted-many-times" in {fault.code for fault in report.faults}
    assert "one datum" in next(fault.cure for fault in report.faults if fault.code == "counted-many-times")


def test_a_leading_axis_makes_a_series_one_row(float64):
    """The cure that is given: shape (1, T), one entry of the plate."""

    class Series(RepeatedStates):
        def model(self, x):
            with pyro.plate("data", len(x)):
                chain = dist.DiscreteHMM(torch.zeros(2), torch.zeros(2, 2), dist.Normal(self.rates, 1.0), x.shape[1])
                pyro.sample("x", chain, obs=x)

    x = torch.randn(1, 10)
    assert examine(Series(), None, {"x": x}).ok
    fit = SVI(steps=5, compile=False, progress=False).fit(Series(), {"x": x})
    parts = dist.Normal(fit.model.rates.detach(), 1.0).log_prob(x[0, :, None]) - math.log(2.0)
    assert log_evidence(fit).value == pytest.approx(float(parts.logsumexp(-1).sum()), abs=1e-9)


def test_a_constant_observed_in_the_plate_is_no_repetition():
    """Soft constraints observe one number, with a density of its own for each datum."""

    def soft(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.sample("zero", dist.Normal(z, 1.0), obs=torch.tensor(0.0))

    SVI(steps=2, progress=False).fit(soft, torch.randn(5))
