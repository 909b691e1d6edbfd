"""Every objective as the loss of a plain `pyro.infer.SVI`, and as a module."""

from __future__ import annotations

import pickle

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch.distributions import constraints

from jensen.inference import (
    IWAE,
    STL,
    BetaELBO,
    CapacityELBO,
    DReG,
    Linear,
    Renyi,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    minibatch,
)
from jensen.inference.objectives import OBJECTIVES
from jensen.models import GaussianMixture, LinearGaussian

LOCAL = [
    Trace_ELBO(2),
    TraceMeanField_ELBO(2),
    STL(2),
    IWAE(4),
    Renyi(0.5, 4),
    DReG(4),
    BetaELBO(Linear(0.0, 1.0), 2),
    CapacityELBO(1.0, gamma=1.0, num_particles=2),
]


def test_the_list_is_whole():
    assert {type(o).__name__ for o in LOCAL} | {"TraceEnum_ELBO"} == set(OBJECTIVES)


@pytest.fixture
def clean_store():
    yield
    pyro.clear_param_store()


def model(x):
    noise = pyro.param("noise", torch.tensor(1.0), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(z, noise), obs=x)


def guide(x):
    weight, scale = (
        pyro.param("weight", torch.tensor(0.1)),
        pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive),
    )
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(weight * x, scale))


@pytest.mark.parametrize("objective", LOCAL, ids=repr)
def test_functions_with_parameters_in_the_global_store(objective, clean_store):
    x = torch.tensor([2.0, -1.5, 3.0, -2.5, 0.5])
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss=objective)
    before = None
    for _ in range(60):
        loss = svi.step(x)
        before = before or {name: float(value.detach()) for name, value in pyro.get_param_store().items()}
    assert isinstance(loss, float)
    store = {name: float(value.detach()) for name, value in pyro.get_param_store().items()}
    assert set(store) == {"noise", "weight", "scale"}
    assert all(store[name] != before[name] for name in store)
    assert isinstance(svi.evaluate_loss(x), float)


@pytest.mark.parametrize("objective", LOCAL, ids=repr)
def test_a_latent_variable_model_keeps_its_own_parameters(objective, clean_store):
    torch.manual_seed(0)
    pair = LinearGaussian(3, 2)
    data = {"x": torch.randn(6, 3)}
    start = {name: value.detach().clone() for name, value in pair.named_parameters()}
    svi = pyro.infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.05}), loss=objective)
    for _ in range(3):
        with minibatch(12):
            svi.step(**data)
    assert all(bool((value != start[name]).any()) for name, value in pair.named_parameters())


def test_enumeration_in_a_plain_svi(clean_store):
    pair = GaussianMixture(2, 1)
    x = torch.cat([torch.randn(20, 1) - 3, torch.randn(20, 1) + 3])
    svi = pyro.infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.1}), loss=TraceEnum_ELBO())
    losses = [svi.step(x=x) for _ in range(60)]
    assert losses[-1] < losses[0] - 5
    assert losses[-1] == pytest.approx(-float(pair.log_evidence({"x": x}).sum().detach()), abs=1.0)


@pytest.mark.parametrize("objective", LOCAL, ids=repr)
def test_as_a_module(objective):
    """`objective(model, guide)` is a module whose call is the differentiable loss."""
    torch.manual_seed(0)
    with pyro.settings.context(module_local_params=True):
        pair = LinearGaussian(3, 2)
        x = torch.randn(6, 3)
        loss_module = objective(pair, pair.guide)
        loss = loss_module(x=x)
        loss.backward()
    assert loss.shape == ()
    assert all(p.grad is not None for p in pair.parameters())
    assert {id(p) for p in pair.parameters()} <= {id(p) for p in loss_module.parameters()}


@pytest.mark.parametrize("objective", [STL(1), DReG(1)], ids=repr)
def test_path_derivatives_vanish_also_for_parameters_in_the_store(objective, clean_store):
    """At the exact posterior, with `pyro.param` statements whose values cannot be swapped in a module."""
    x = torch.tensor([2.0, -1.5, 3.0])

    def exact(x):
        weight = pyro.param("weight", torch.tensor(0.5))
        scale = pyro.param("scale", torch.tensor(0.5).sqrt(), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(weight * x, scale))

    objective.loss_and_grads(model, exact, x)
    for name in ("weight", "scale"):
        assert abs(float(pyro.param(name).unconstrained().grad)) < 1e-10
    assert abs(float(pyro.param("noise").unconstrained().grad)) > 1e-3


@pytest.mark.parametrize("objective", [*LOCAL, TraceEnum_ELBO(3)], ids=repr)
def test_objectives_compare_and_store(objective):
    again = pickle.loads(pickle.dumps(objective))
    assert again == objective and hash(again) == hash(objective)
    assert objective != Trace_ELBO(17)
    assert repr(objective).startswith(type(objective).__name__ + "(num_particles=")
    assert objective.configuration()["objective"] == type(objective).__name__
