"""A fit changes nothing but what it returns, and depends on nothing but its arguments."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import SVI, Trace_ELBO, TraceMeanField_ELBO

OPTIONS: dict[str, Any] = {"steps": 12, "lr": 0.05, "log_every": 4, "device": "cpu", "compile": "trace"}


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def test_two_fits_do_not_know_of_each_other(logistic: Any, vae: Any, same: Callable[..., None]) -> None:
    svi = SVI(Trace_ELBO(), **OPTIONS)
    first = svi.fit(*logistic, seed=1)
    SVI(TraceMeanField_ELBO(), batch_size=16, **OPTIONS).fit(*vae, seed=2)
    torch.manual_seed(99)
    torch.randn(7)
    kept = state(first.program)
    same(first, svi.fit(*logistic, seed=1))
    assert all(torch.equal(value, kept[name]) for name, value in state(first.program).items())
    assert not list(pyro.get_param_store().keys())


def test_the_seed_matters(logistic: Any) -> None:
    svi = SVI(Trace_ELBO(), **OPTIONS)
    bounds = [svi.fit(*logistic, seed=seed).history["bound"].iloc[-1] for seed in (1, 2)]
    assert bounds[0] != bounds[1]


@pytest.mark.parametrize("problem", ["logistic", "vae", "mixture", "linear", "gamma"], indirect=True)
def test_the_model_that_is_passed_stays_as_it_was(problem: Any) -> None:
    model, data = problem
    before, training = state(model), model.training
    given = {name: value.clone() for name, value in data.items()}
    fit = SVI(Trace_ELBO(2), **OPTIONS).fit(model, data)
    assert fit.model is not model
    assert model.training is training
    assert all(torch.equal(value, before[name]) for name, value in state(model).items())
    assert all(torch.equal(value, given[name]) for name, value in data.items())
    assert all(parameter.grad is None for parameter in model.parameters())


class OwnGuide(nn.Module):
    """A guide module that shares its first location with the model it was made for."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> None:
        pyro.sample("z", dist.Normal(self.model.loc, self.log_scale.exp()))


class Shared(nn.Module):
    """A model with a parameter that its guide reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(self.loc, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_a_guide_that_is_passed_as_a_module_stays_as_it_was() -> None:
    model = Shared()
    guide = OwnGuide(model)
    before = state(guide)
    fit = SVI(Trace_ELBO(), guide=guide, **OPTIONS).fit(model, {"x": torch.ones(4)})
    assert fit.guide is not guide
    assert fit.guide.model is fit.model, "what guide and model share, their copies share"
    assert all(torch.equal(value, before[name]) for name, value in state(guide).items())
    assert fit.guide.log_scale.item() != 0.0


def test_a_plain_function_with_param_statements_leaves_the_store_empty() -> None:
    def model(x: torch.Tensor) -> None:
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, scale), obs=x)

    x = torch.randn(50) * 3.0
    fit = SVI(Trace_ELBO(), **{**OPTIONS, "steps": 400}).fit(model, {"x": x})
    assert not list(pyro.get_param_store().keys())
    (value,) = fit.program.parameters()
    assert value.exp().item() == pytest.approx(float(x.square().mean().sqrt()), rel=1e-3)


def test_the_caller_s_generators_defaults_and_threads_are_kept(gamma: Any) -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global generator is the point)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    threads, settings = torch.get_num_threads(), pyro.settings.get()
    torch.set_default_dtype(torch.float32)
    try:
        fit = SVI(Trace_ELBO(3), dtype=torch.float64, threads=2, **OPTIONS).fit(*gamma)
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_default_dtype(torch.float64)
    assert fit.info["dtype"] == "float64"
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.get_num_threads() == threads
    assert pyro.settings.get() == settings
    assert torch.is_grad_enabled()


def test_a_fit_that_fails_leaves_the_caller_s_state_alone(logistic: Any) -> None:
    model, data = logistic
    threads, rng = torch.get_num_threads(), torch.get_rng_state()

    def broken(progress: Any) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        SVI(Trace_ELBO(), dtype=torch.float32, threads=2, **OPTIONS).fit(model, data, callbacks=[broken])
    assert torch.get_default_dtype() == torch.float64
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), rng)


def test_opaque_draws_depend_on_the_seed_alone(gamma: Any, same: Callable[..., None]) -> None:
    svi = SVI(Trace_ELBO(3), **OPTIONS)
    first = svi.fit(*gamma, seed=4)
    torch.rand(3)
    same(first, svi.fit(*gamma, seed=4))
    other = svi.fit(*gamma, seed=5)
    assert list(first.history["bound"]) != list(other.history["bound"])
