"""Every observed value is inside the support of what observes it, in all the data, or the fit does not begin."""

from __future__ import annotations

import re

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.utils.data import DataLoader, TensorDataset

from jensen.inference import SVI, DataError, elbo_terms, log_evidence
from jensen.inference.doctor import examine
from jensen.models import VAE

SHIFT = dist.transforms.AffineTransform(2.0, 1.0)
UNEQUAL = dist.Uniform(torch.tensor([0.0, 5.0]), torch.tensor([1.0, 6.0]))
OUTSIDE = {  # name: (distribution given a real m, data of which the last is outside, what is said of it)
    "Bernoulli 2": (lambda m: dist.Bernoulli(logits=m), [0.0, 1.0, 2.0], r"Bernoulli \(\{0, 1\}\). Code it 0 and 1"),
    "Bernoulli -0.5": (lambda m: dist.Bernoulli(logits=m), [0.0, 1.0, -0.5], "outside the support of its Bernoulli"),
    "Bernoulli grey": (lambda m: dist.Bernoulli(logits=m), [0.0, 1.0, 0.5], "DynamicBinarization.*Continuous"),
    "Poisson": (lambda m: dist.Poisson(m.exp()), [0.0, 3.0, 1.5], r"Poisson \(integers >= 0\). Pass counts"),
    "GammaPoisson": (lambda m: dist.GammaPoisson(m.exp(), 1.0), [0.0, 3.0, 1.5], "Pass counts"),
    "Exponential": (lambda m: dist.Exponential(m.exp()), [1.0, 0.5, -1.0], r"Exponential \(positive\)"),
    "Pareto": (lambda m: dist.Pareto(torch.tensor(2.0), m.exp()), [3.0, 2.0, 1.0], r"Pareto \(> 2\)"),
    "Geometric": (lambda m: dist.Geometric(logits=m), [1.0, 0.0, -2.0], r"Geometric \(integers >= 0\)"),
    "Categorical": (
        lambda m: dist.Categorical(logits=torch.stack([m, -m])),
        [0.0, 1.0, 2.0],
        "Number the classes from 0",
    ),
    "Binomial": (lambda m: dist.Binomial(3, logits=m), [0.0, 3.0, 4.0], r"Binomial \(\{0, …, 3\}\).*total_count"),
    "Beta": (lambda m: dist.Beta(m.exp(), 1.0), [0.3, 0.5, 1.2], r"Beta \(\(0, 1\)\)"),
    "LogNormal": (lambda m: dist.LogNormal(m, 1.0), [0.3, 0.5, 0.0], r"LogNormal \(positive\)"),
    "shifted": (
        lambda m: dist.TransformedDistribution(dist.Exponential(m.exp()), [SHIFT]),
        [2.0, 3.0, 1.9],
        "holds 1.9 in row .*> 2",
    ),
    "mixture with a gap": (
        lambda m: dist.MixtureSameFamily(dist.Categorical(logits=torch.stack([m, -m])), UNEQUAL),
        [0.5, 5.5, 3.0],
        "holds 3 in row ",
    ),
}
INSIDE = {
    "Pareto at its scale": (lambda m: dist.Pareto(torch.tensor(2.0), m.exp()), [3.0, 2.0]),
    "grey, and meant": (lambda m: dist.Bernoulli(logits=m, validate_args=False), [0.5, 0.1]),
    "mixture with a gap": OUTSIDE["mixture with a gap"][:2],
}


def model_of(distribution):
    def model(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", distribution(m), obs=x)

    return model


def fit(model, data, **options):
    return SVI(steps=3, progress=False, compile=False, **options).fit(model, data)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_value_outside_is_named_before_the_first_step(name):
    distribution, values, message = OUTSIDE[name]
    with pytest.raises(DataError, match=f"The observed `x` holds {values[-1]:g} in row 2, outside.*") as caught:
        fit(model_of(distribution), torch.tensor(values))
    assert re.search(message, str(caught.value)), caught.value


@pytest.mark.parametrize("name", INSIDE)
def test_what_is_inside_or_meant_is_fitted(name):
    distribution, values = INSIDE[name]
    fit(model_of(distribution), torch.tensor(values[:2]))


def test_the_doctor_says_the_same():
    distribution, values, _ = OUTSIDE["Exponential"]
    report = examine(model_of(distribution), None, torch.tensor(values))
    assert [(f.code, f.where) for f in report.faults] == [("data", "x")]
    assert "holds -1 in row 2" in report.faults[0].message


LABELS = torch.arange(600.0) % 2
LABELS[543] = 2.0
TABLE = torch.stack([torch.linspace(-1.0, 1.0, 600), LABELS], 1)


def _as_it_is(x):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=m), obs=x)


def _cast(x):
    m = pyro.sample("m", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Categorical(logits=m), obs=x.long())


def _a_column(x):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=m * x[:, 0]), obs=x[:, 1])


def _computed(x):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=m), obs=x - 1)


def _own_totals(x, n):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Binomial(n, logits=m), obs=x)


EVERYWHERE = {
    "as it is": (_as_it_is, LABELS),
    "cast": (_cast, LABELS),
    "a column": (_a_column, TABLE),
    "computed": (_computed, LABELS + 1),
    "totals of its own": (_own_totals, {"x": LABELS, "n": torch.ones(600)}),
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_all_data_are_looked_at_and_not_only_the_first_batch(name):
    model, data = EVERYWHERE[name]
    with pytest.raises(DataError, match="The observed `y` holds 2 in row 543, outside"):
        fit(model, data, batch_size=8)


def test_streamed_data_are_looked_at_batch_by_batch():
    loader = DataLoader(TensorDataset(LABELS[512:]), batch_size=8)
    with pytest.raises(DataError, match="holds 2 in row 7 of batch 3, outside"):
        SVI(steps=8, progress=False, compile=False).fit(_as_it_is, loader)


def test_validation_and_scored_data_are_looked_at():
    fitted = fit(_as_it_is, LABELS.clamp(max=1.0))
    with pytest.raises(DataError, match="holds 2 in row 543"):
        SVI(steps=3, progress=False).fit(_as_it_is, LABELS.clamp(max=1.0), validation=LABELS)
    for score in (log_evidence, elbo_terms):
        with pytest.raises(DataError, match="holds 2 in row 543"):
            score(fitted, LABELS)


def test_masked_values_are_not_data():
    def model(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)), poutine.mask(mask=x < 2):
            pyro.sample("y", dist.Bernoulli(logits=m), obs=x)

    fit(model, LABELS, batch_size=8)

    def vector(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        seen = x < 2
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Bernoulli(logits=m).expand(x.shape).mask(seen).to_event(1), obs=x)

    fit(vector, LABELS.reshape(-1, 4), batch_size=8)
    with pytest.raises(DataError, match=r"holds -1 in row 0"):
        fit(vector, LABELS.reshape(-1, 4) - 1, batch_size=8)


def test_vectors_are_judged_as_one():
    def model(x):
        a = pyro.sample("a", dist.LogNormal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Dirichlet(a), obs=x)

    x = torch.full((5, 3), 1 / 3)
    x[4, 0] = 0.5
    with pytest.raises(DataError, match=r"holds \[0.5, 0.333333, 0.333333\] in row 4.*Dirichlet \(simplex\)"):
        fit(model, x)

    def counted(x):
        a = pyro.sample("a", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Multinomial(10, logits=a), obs=x)

    for wrong in ([5.0, 5.0, 1.0], [1.5, 2.0, 0.0]):
        with pytest.raises(DataError, match=r"in row 1, outside the support of its Multinomial.*total_count"):
            fit(counted, torch.tensor([[5.0, 4.0, 1.0], wrong]))


def test_float32_rounding_of_a_long_simplex_is_no_fault():
    x = torch.rand(4, 3_000).softmax(-1)

    def model(x):
        a = pyro.sample("a", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Dirichlet(a * torch.ones(3_000)), obs=x)

    fit(model, x * (1 + 2e-6))


def test_shipped_likelihoods_say_what_they_mean():
    grey = torch.rand(20, 6)
    fit(VAE(6, 2, hidden=(4,), likelihood="bernoulli_grey"), grey, batch_size=5)
    with pytest.raises(DataError, match="bernoulli_grey"):
        fit(VAE(6, 2, hidden=(4,)), grey, batch_size=5)


def test_the_program_is_run_over_all_data_only_where_it_must(monkeypatch):
    from jensen.inference.data import observed_values

    rows = []
    plain = observed_values.run_pair
    monkeypatch.setattr(observed_values, "run_pair", lambda p, b: rows.append(len(b["x"])) or plain(p, b))

    def scaled(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(m, 1.0), obs=x / 255)

    for model, runs in ((_as_it_is, [8]), (_cast, [8]), (scaled, [8]), (_computed, [8, 600])):
        rows.clear()
        fit(model, LABELS.clamp(max=1.0) + (model is _computed), batch_size=8)
        assert rows == runs
