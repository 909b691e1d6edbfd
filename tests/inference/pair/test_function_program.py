"""Plain Pyro modules, and functions around modules: fitted, drawn from, scored, saved; the originals are left alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

from jensen.inference import STL, SVI, CheckpointError, Fit, ModelError, Trace_ELBO, load, log_evidence
from jensen.inference.doctor import examine
from jensen.models import BayesianLinearRegression

X = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([1.0, -2.0]) + 0.5 * torch.randn(40, generator=torch.Generator().manual_seed(1))


def layer() -> nn.Module:
    """A linear layer whose weights are latent, with a standard normal prior."""
    linear = PyroModule[nn.Linear](2, 1, bias=False)
    linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 2]).to_event(2))
    return linear


class Regression(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = layer()

    def forward(self, x, y=None):
        return respond(self.linear, x, y)


def respond(linear, x, y=None):
    mean = linear(x).squeeze(-1)
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def around_closure() -> Any:
    linear = layer()
    return lambda x, y=None: respond(linear, x, y)


class Called:
    def __init__(self) -> None:
        self.parts = [layer()]

    def __call__(self, x, y=None):
        return respond(self.parts[0], x, y)


PROGRAMS: dict[str, Callable[[], Any]] = {
    "PyroModule": Regression,
    "closure": around_closure,
    "partial": lambda: functools.partial(respond, layer()),
    "partial by name": lambda: functools.partial(respond, linear=layer()),
    "object": Called,
    "method": lambda: Regression().forward,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_latent_weights_have_their_exact_posterior(name: str, float64: None) -> None:
    x, y = X.double(), Y.double()
    fit = SVI(Trace_ELBO(8), guide="multivariate_normal", steps=300, lr=0.03, compile="trace", progress=False).fit(
        PROGRAMS[name](), (x, y)
    )
    exact = BayesianLinearRegression(2)
    law = exact.exact_posterior({"x": x, "y": y})["w"]
    draws = next(iter(fit.posterior(4_000, seed=1).values())).flatten(1)
    assert torch.allclose(draws.mean(0), law.mean, atol=0.03)
    found = log_evidence(fit, num_particles=500)
    assert abs(found.value - float(exact.log_evidence({"x": x, "y": y}))) < 5 * found.stderr + 0.02
    assert fit.predict({"x": x[:3]}, num=2)["y"].shape == (2, 3)


weights = nn.Linear(2, 1)


def around_global(x, y=None):
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(weights(x).squeeze(-1), scale), obs=y)


def declared(x, y=None):
    pyro.module("weights", weights)
    return around_global(x, y)


@pytest.mark.parametrize("compile", [False, "trace"])
@pytest.mark.parametrize("program", [around_global, declared])
def test_weights_that_are_parameters_are_fitted_and_the_original_is_not(program: Any, compile: Any) -> None:
    before = weights.weight.clone()
    fit = SVI(steps=150, lr=0.05, compile=compile, progress=False).fit(program, (X, Y))
    least_squares = torch.linalg.lstsq(torch.cat([X, torch.ones(40, 1)], 1), Y[:, None]).solution[:2, 0]
    assert torch.allclose(fit.model.weights.weight[0], least_squares, atol=0.15)
    assert torch.equal(weights.weight, before)
    again = SVI(steps=1, progress=False, compile=False).fit(fit.model, (X, Y))  # goes on from there
    assert torch.allclose(again.model.weights.weight, fit.model.weights.weight, atol=0.05)


class Autoencoder(nn.Module):
    """In Pyro's older style: an `nn.Module` whose programs declare its networks."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Linear(1, 2), nn.Linear(2, 2)

    def model(self, x=None):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            loc, scale = self.encoder(x).chunk(2, -1)
            return pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def test_modules_that_are_declared_are_the_pairs_own() -> None:
    fit = SVI(steps=30, lr=0.05, compile=False, progress=False).fit(Autoencoder(), X)
    assert {name for name, _ in fit.program.named_parameters()} == {
        f"model_module.{part}.{kind}" for part in ("decoder", "encoder") for kind in ("weight", "bias")
    }
    assert fit.history.bound.iloc[-1] > fit.history.bound.iloc[0] or len(fit.history) == 1


def test_a_guide_function_brings_its_modules() -> None:
    pair = Autoencoder()
    decoder, encoder = pair.decoder, pair.encoder

    def model(x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            loc, scale = encoder(x).chunk(2, -1)
            return pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    before = encoder.weight.clone()
    fit = SVI(STL(2), steps=30, lr=0.05, compile=False, progress=False, guide=lambda model: guide).fit(model, X)
    assert not torch.equal(fit.guide.encoder.weight, before)
    assert torch.equal(encoder.weight, before)


def fitted(model: Any) -> Fit:
    return SVI(steps=10, progress=False, compile=False).fit(model, (X, Y))


@pytest.mark.parametrize("name", ["PyroModule", "closure"])
def test_such_a_fit_is_saved_and_says_how_it_is_read(name: str, tmp_path: Path) -> None:
    fit = fitted(PROGRAMS[name]())
    fit.save(tmp_path / "fit")
    with pytest.raises(
        CheckpointError, match=r"cannot be built again: (the class does not record|it is the program).*Pass `model=`"
    ):
        load(tmp_path / "fit")
    found = load(tmp_path / "fit", model=PROGRAMS[name]())
    for site, draws in fit.posterior(5, seed=2).items():
        assert torch.equal(found.posterior(5, seed=2)[site], draws)


def test_the_doctor_runs_them() -> None:
    assert examine(Regression(), None, (X, Y)).ok
    assert examine(around_closure(), None, {"x": X, "y": Y}).ok


def test_a_parameter_of_no_module_is_refused() -> None:
    stray = nn.Parameter(torch.zeros(2))

    def program(x, y=None):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ stray, scale), obs=y)

    with pytest.raises(ModelError, match=r"uses the parameter `stray`, which belongs to no module.*pyro\.param"):
        fitted(program)


class Clash(PyroModule):
    """Its parameter has the name of its site."""

    def __init__(self, constrained: bool) -> None:
        super().__init__()
        value = torch.ones(2)
        self.w = PyroParam(value, dist.constraints.positive) if constrained else nn.Parameter(value)

    def forward(self, x, y=None):
        w = pyro.sample("w", dist.Normal(self.w, 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)


def late(x, y=None):
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(x @ w, pyro.param("w", torch.ones(()))), obs=y)


def twice(x, y=None):
    for _ in range(2):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)


def test_names_that_clash_are_named() -> None:
    for model in (Clash(constrained=True), Clash(constrained=False), late):
        with pytest.raises(ModelError, match=r"`w` is the name of a parameter and of a sample site\. Rename one"):
            fitted(model)
    with pytest.raises(ModelError, match=r"Two sample sites are named `w` in one run"):
        fitted(twice)


def test_a_part_called_model_is_no_program() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 1)

        def forward(self, x, y=None):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            with pyro.plate("data", len(x)):
                return pyro.sample("y", dist.Normal(self.model(x).squeeze(-1), scale), obs=y)

    assert fitted(Wrapper()).posterior(2)["scale"].shape == (2,)
