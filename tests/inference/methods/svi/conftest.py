"""Small problems that the tests of the training loop share; every one takes milliseconds a step or less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import Fit
from jensen.models import VAE, BayesianLogisticRegression, GaussianMixture, LatentVariableModel, LinearGaussian

Problem = tuple[Any, dict[str, torch.Tensor]]


class GammaRate(LatentVariableModel):
    """Counts with one unknown rate, under a Gamma guide: its draws cannot be made from base noise."""

    def __init__(self) -> None:
        super().__init__()
        self.log_shape = nn.Parameter(torch.tensor(0.5))
        self.log_rate = nn.Parameter(torch.tensor(0.0))

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(x) if x is not None else 1):
            return pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(self, x: torch.Tensor | None = None) -> torch.Tensor:
        return pyro.sample("rate", dist.Gamma(self.log_shape.exp(), self.log_rate.exp()))


class Branching(LatentVariableModel):
    """A program whose path depends on the value of a draw, so that no tracer can follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(0.3))

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        scale = 1.0 if z > 0 else 2.0
        with pyro.plate("data", len(x) if x is not None else 1):
            return pyro.sample("x", dist.Normal(z, scale), obs=x)

    def guide(self, x: torch.Tensor | None = None) -> torch.Tensor:
        return pyro.sample("z", dist.Normal(self.loc, 1.0))


@pytest.fixture(autouse=True)
def _double(float64: torch.dtype) -> None:
    """All of these tests run in float64."""


@pytest.fixture
def logistic() -> Problem:
    """Logistic regression, 60 data with 4 features: global latents, an automatic guide."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 4, generator=generator)
    y = (x.sum(-1) + torch.randn(60, generator=generator) > 0).double()
    return BayesianLogisticRegression(4), {"x": x, "y": y}


@pytest.fixture
def mixture() -> Problem:
    """A mixture of three Gaussians in the plane, 60 data; the assignments are summed out."""
    generator = torch.Generator().manual_seed(2)
    centres = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0]])
    x = centres.repeat(20, 1) + 0.5 * torch.randn(60, 2, generator=generator)
    return GaussianMixture(3, 2), {"x": x}


@pytest.fixture
def vae() -> Problem:
    """An autoencoder of 50 binary vectors of length 6: amortised local latents."""
    generator = torch.Generator().manual_seed(3)
    return VAE(6, 2, hidden=(8,)), {"x": torch.bernoulli(torch.full((50, 6), 0.4), generator=generator)}


@pytest.fixture
def linear() -> Problem:
    """Probabilistic principal components, 40 data: everything exact is known."""
    generator = torch.Generator().manual_seed(4)
    return LinearGaussian(3, 2), {"x": torch.randn(40, 3, generator=generator) * torch.tensor([2.0, 1.0, 0.5])}


@pytest.fixture
def gamma() -> Problem:
    """A Gamma latent over counts."""
    return GammaRate(), {"x": torch.tensor([2.0, 0.0, 3.0, 1.0, 4.0, 2.0])}


@pytest.fixture
def branching() -> Problem:
    """A program that cannot be traced."""
    return Branching(), {"x": torch.tensor([0.5, -0.2, 1.0])}


@pytest.fixture
def problem(request: pytest.FixtureRequest) -> Problem:
    """The problem named by an indirect parameter."""
    return request.getfixturevalue(request.param)


def parameters_of(fit: Fit) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in fit.program.named_parameters()}


@pytest.fixture
def same() -> Callable[..., None]:
    """``same(fit, other, rtol=…)``: equal parameters and history, the seconds apart; ``rtol=0`` is bit by bit."""

    def check(fit: Fit, other: Fit, rtol: float = 0.0, atol: float = 0.0) -> None:
        mine, theirs = parameters_of(fit), parameters_of(other)
        assert mine.keys() == theirs.keys() and mine
        for name in mine:
            torch.testing.assert_close(mine[name], theirs[name], rtol=rtol, atol=atol, msg=f"`{name}` differs")
        left, right = fit.history.drop(columns="seconds"), other.history.drop(columns="seconds")
        assert list(left.columns) == list(right.columns)
        assert list(left["step"]) == list(right["step"])
        np.testing.assert_allclose(left.to_numpy(float), right.to_numpy(float), rtol=rtol, atol=atol)

    return check
