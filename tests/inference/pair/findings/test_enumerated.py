"""A discrete latent that is summed out must enter each density as it would at one of its values."""

from __future__ import annotations

import itertools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from jensen.inference import SVI
from jensen.inference.doctor import examine
from jensen.inference.errors import ModelError
from jensen.inference.pair.program import Program
from jensen.inference.pair.terms import evaluate

pytestmark = pytest.mark.usefixtures("doctor_agrees")

X = torch.tensor([0.3, 1.7, -0.4], dtype=torch.float64)
MEANS = torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)
CHANCES = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def summed(x):
    """Every datum sees the sum over the plate."""
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.4)))
        pyro.sample("x", dist.Normal(c.sum(-1, keepdim=True) + torch.zeros(len(x)), 1.0), obs=x)


def summed_outside(x):
    """One event outside of the plate whose entries it adds up."""
    with pyro.plate("items", 3):
        c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.4)))
    loc = c.sum(-1, keepdim=True).expand((*c.shape[:-1], 3))
    pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


def averaged(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(CHANCES.to(x)))
        pyro.sample("x", dist.Normal(MEANS.to(x)[c] - MEANS.to(x)[c].mean(-1, keepdim=True), 1.0), obs=x)


def shifted(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(CHANCES.to(x)))
        pyro.sample("x", dist.Normal(c.roll(1, -1).to(x), 1.0), obs=x)


@pytest.mark.parametrize("model", [summed, summed_outside, averaged, shifted])
@pytest.mark.parametrize("objective", ["Trace_ELBO", "TraceEnum_ELBO"])
def test_reductions_over_the_plate_are_refused(model, objective):
    with pytest.raises(ModelError, match="density of `x` with the values of `c` summed out is not the one"):
        SVI(objective, steps=2, progress=False).fit(model, X)


def test_the_doctor_says_so():
    report = examine(summed, None, X)
    assert ("enumerated-over-plate", "x") in [(fault.code, fault.where) for fault in report.faults]


def mixture(x):
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(CHANCES))
        pyro.sample("x", dist.Normal(MEANS[c], 1.0), obs=x)


def chain(x):
    """A hidden Markov chain beside a global switch."""
    switch = pyro.sample("switch", dist.Bernoulli(torch.tensor(0.3)))
    state = None
    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    for t in pyro.markov(range(len(x))):
        state = pyro.sample(f"state_{t}", dist.Categorical(rows[0] if state is None else rows[state]))
        pyro.sample(f"x_{t}", dist.Normal(state.to(x) + switch, 1.0), obs=x[t])


def nested(x):
    """A latent of each feature, one of each datum, and a density of both."""
    data = pyro.plate("data", len(x), dim=-1)
    with pyro.plate("features", 2, dim=-2):
        g = pyro.sample("g", dist.Bernoulli(torch.tensor(0.3)))
    with data:
        c = pyro.sample("c", dist.Categorical(CHANCES))
    with pyro.plate("again", 2, dim=-2), data:
        pyro.sample("x", dist.Normal(MEANS[c] + g, 1.0), obs=x.expand(2, len(x)))


@pytest.mark.parametrize("model", [mixture, chain])
def test_the_sum_is_the_one_over_all_values(model, float64):
    """Brute force: every assignment of every discrete latent, conditioned and added up."""
    program = Program(model)
    program.structure({"x": X})
    trace = poutine.trace(model).get_trace(X)
    names = [n for n, s in trace.nodes.items() if s["type"] == "sample" and not s["is_observed"] and n != "data"]
    sizes = [trace.nodes[n]["fn"].enumerate_support(expand=False).shape[0] for n in names]
    counts = [trace.nodes[n]["value"].numel() for n in names]
    total = []
    spaces = [list(itertools.product(range(k), repeat=m)) for k, m in zip(sizes, counts, strict=True)]
    for values in itertools.product(*spaces):
        given = {
            n: torch.tensor(v, dtype=trace.nodes[n]["value"].dtype).reshape(trace.nodes[n]["value"].shape)
            for n, v in zip(names, values, strict=True)
        }
        total.append(poutine.trace(poutine.condition(model, given)).get_trace(X).log_prob_sum())
    terms = evaluate(program, {"x": X})
    found = sum(site.log_p.sum() for site in terms.sites.values())
    assert float(found) == pytest.approx(float(torch.stack(total).logsumexp(0)), abs=1e-10)


def test_plates_side_by_side_are_sound(float64):
    Program(nested).structure({"x": X})
