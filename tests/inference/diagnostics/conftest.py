"""Small programs with known evidence, and a way to make a fit of a model and a guide without fitting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from jensen.inference.pair.program import Program
from jensen.models import LatentVariableModel


@dataclass
class BareFit:
    """The part of a `Fit` that metrics read."""

    model: Any
    guide: Any
    data: dict[str, Tensor] | None

    def __post_init__(self) -> None:
        self.program = Program(self.model, self.guide)
        self.data_size = len(next(iter(self.data.values()))) if self.data else 0


@pytest.fixture
def bare_fit() -> Callable[..., BareFit]:
    def make(model: Any, guide: Any = None, **data: Tensor) -> BareFit:
        return BareFit(model, guide, {name: value.detach() for name, value in data.items()} or None)

    return make


class Hierarchy(LatentVariableModel):
    """t ~ N(0, 1), z_n | t ~ N(t, 1), x_n | z_n ~ N(z_n, 1): so x ~ N(0, 2 I + 1 1^T). The guide is exact, or wider."""

    def __init__(self, size: int, widen: float = 1.0, from_data: bool = False) -> None:
        super().__init__()
        self.size, self.widen, self.from_data = size, widen, from_data
        self.mean = torch.nn.Parameter(torch.zeros(()))

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        t = pyro.sample("t", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x)):  # type: ignore[arg-type]
            z = pyro.sample("z", dist.Normal(t, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        precision = 1.0 + self.size / 2.0
        mean = x.sum() / 2.0 / precision if self.from_data else self.mean
        t = pyro.sample("t", dist.Normal(mean, self.widen * precision**-0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((t + x) / 2.0, self.widen * 0.5**0.5))

    @torch.no_grad()
    def set_exact(self, x: Tensor) -> Hierarchy:
        self.mean.copy_(x.sum() / 2.0 / (1.0 + self.size / 2.0))
        return self

    def log_evidence(self, data: dict[str, Tensor]) -> Tensor:
        n = len(data["x"])
        covariance = 2.0 * torch.eye(n) + torch.ones(n, n)
        return torch.distributions.MultivariateNormal(torch.zeros(n), covariance).log_prob(data["x"])


class Switch(LatentVariableModel):
    """c ~ Bernoulli(0.3), z | c ~ N(3 c, 1), x | z ~ N(z, 1), with c in the guide: enumerated there, or drawn."""

    def __init__(self, enumerate: str | None = "parallel", exact: bool = False) -> None:
        super().__init__()
        self.enumerate, self.exact = enumerate, exact

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", len(x)):  # type: ignore[arg-type]
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
            z = pyro.sample("z", dist.Normal(3.0 * c, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            logits = self.joint(x)
            probs = (logits[1] - logits[0]).sigmoid() if self.exact else torch.full_like(x, 0.5)
            c = pyro.sample("c", dist.Bernoulli(probs), infer={"enumerate": self.enumerate})
            pyro.sample("z", dist.Normal((3.0 * c + x) / 2.0, 0.5**0.5))

    def joint(self, x: Tensor) -> Tensor:
        prior = torch.tensor([0.7, 0.3]).log()[:, None]
        return prior + torch.distributions.Normal(torch.tensor([0.0, 3.0])[:, None], 2.0**0.5).log_prob(x)

    def log_evidence(self, data: dict[str, Tensor]) -> Tensor:
        return self.joint(data["x"]).logsumexp(0)


@pytest.fixture
def hierarchy() -> type[Hierarchy]:
    return Hierarchy


@pytest.fixture
def switch() -> type[Switch]:
    return Switch
