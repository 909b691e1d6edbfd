"""The mini-batch messenger: the factor, unbiasedness, and Pyro's own objectives under it."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro import poutine

from jensen.inference import ConfigurationError, Trace_ELBO, minibatch
from jensen.inference.pair.program import Program


def model(x):
    mean = pyro.sample("mean", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x), dim=-2), pyro.plate("parts", x.shape[1], dim=-1):
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x)
    with pyro.plate("others", 3):
        pyro.sample("y", dist.Normal(mean, 1.0), obs=torch.zeros(3))


def test_only_sites_of_the_data_plate_are_scaled():
    with minibatch(data_size=12):
        nodes = poutine.trace(model).get_trace(torch.zeros(4, 2)).nodes
    assert {name: nodes[name]["scale"] for name in ("mean", "x", "y")} == {"mean": 1.0, "x": 3.0, "y": 1.0}


def test_a_ragged_batch_gets_its_own_factor():
    x = torch.randn(7, 2)
    with poutine.condition(data={"mean": torch.tensor(0.3)}):
        full = poutine.trace(model).get_trace(x)
        full.compute_log_prob()
        parts = []
        for rows in (x[:3], x[3:6], x[6:]):
            with minibatch(7):
                trace = poutine.trace(model).get_trace(rows)
            trace.compute_log_prob()
            parts.append(trace.nodes["x"]["log_prob_sum"] * len(rows) / 7)
    torch.testing.assert_close(sum(parts), full.nodes["x"]["log_prob_sum"])


def test_the_size_of_the_global_batch_can_be_given():
    with minibatch(12, batch_size=6):
        trace = poutine.trace(model).get_trace(torch.zeros(3, 2))
    assert trace.nodes["x"]["scale"] == 2.0


def test_pyros_objectives_understand_it(float64):
    x = torch.randn(4, 2)

    def guide(x):
        pyro.sample("mean", dist.Normal(torch.tensor(0.2), 0.5))

    with minibatch(20):
        torch.manual_seed(0)
        theirs = pyro.infer.Trace_ELBO().loss(model, guide, x)
        torch.manual_seed(0)
        ours = -float(Trace_ELBO().bound(Program(model, guide), {"x": x}).bound)
    assert ours == pytest.approx(theirs, rel=1e-12)


def test_impossible_sizes():
    with pytest.raises(ConfigurationError, match="`data_size` must be a positive number of data, got 0"):
        minibatch(0)
    message = "`data_size` must be at least the batch, got data_size=3 and a batch of 4"
    with pytest.raises(ConfigurationError, match=message), minibatch(3):
        model(torch.zeros(4, 2))
