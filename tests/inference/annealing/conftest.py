"""Models whose evidence is exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor


@dataclass
class Case:
    """A model, data, its log evidence as a function of them, and exact draws of the posterior."""

    model: Callable[..., Any]
    data: dict[str, Tensor]
    evidence: Callable[[dict[str, Tensor]], float]
    draw: Callable[[int], Tensor]

    @property
    def exact(self) -> float:
        return self.evidence(self.data)


@pytest.fixture
def line(float64: None) -> Case:
    """Linear regression with known noise and two columns that are nearly the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 4, generator=generator)
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]
    y = x @ torch.tensor([1.0, -1.0, 0.5, 2.0]) + 0.5 * torch.randn(20, generator=generator)

    def model(x: Tensor, y: Tensor | None = None) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(4), 2.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ w, 0.5), obs=y)

    def evidence(data: dict[str, Tensor]) -> float:
        covariance = 4.0 * data["x"] @ data["x"].mT + 0.25 * torch.eye(20)
        return float(torch.distributions.MultivariateNormal(torch.zeros(20), covariance).log_prob(data["y"]))

    def draw(count: int) -> Tensor:
        covariance = torch.linalg.inv(x.mT @ x / 0.25 + torch.eye(4) / 4.0)
        noise = torch.randn(count, 4, generator=torch.Generator().manual_seed(5))
        return covariance @ (x.mT @ y / 0.25) + noise @ torch.linalg.cholesky(covariance).mT

    return Case(model, {"x": x, "y": y}, evidence, draw)


@pytest.fixture
def mixture(float64: None) -> Case:
    """Two unknown means with unequal weights, whose posterior has two modes; the evidence on a grid."""
    data = torch.tensor([-1.2, -0.8, 1.9, 2.1, 1.8, -1.4, 1.3])

    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(2), 5.0).to_event(1))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(torch.where(c > 0, m[..., 1], m[..., 0]), 1.0), obs=x)

    grid = torch.linspace(-25.0, 25.0, 1_001)
    first, second = torch.meshgrid(grid, grid, indexing="ij")
    log_density = sum(torch.distributions.Normal(0.0, 5.0).log_prob(m) for m in (first, second))
    for value in data:
        parts = [torch.distributions.Normal(m, 1.0).log_prob(value) for m in (first, second)]
        log_density = log_density + torch.logaddexp(math.log(0.7) + parts[0], math.log(0.3) + parts[1])
    flat = log_density.flatten()
    exact = float(flat.logsumexp(0)) + 2.0 * math.log(float(grid[1] - grid[0]))

    def draw(count: int) -> Tensor:
        chosen = torch.multinomial(flat.softmax(0), count, replacement=True, generator=torch.Generator().manual_seed(5))
        return torch.stack([first.flatten()[chosen], second.flatten()[chosen]], -1)

    return Case(model, {"x": data}, lambda _: exact, draw)
