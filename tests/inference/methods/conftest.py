"""Small models that a user might write, with closed forms worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Gamma, Normal, kl_divergence

from jensen.models import CoordinateGuide, LatentVariableModel


class TwoCoins(LatentVariableModel):
    """Each row is ten tosses of one of two coins, chosen with equal chance; the coins' biases are the parameters."""

    def __init__(self, first: float = 0.6, second: float = 0.5) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([first, second]))

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        with pyro.plate("data", 1 if x is None else len(x)):
            coin = pyro.sample("coin", dist.Categorical(logits=torch.zeros(2)), infer={"enumerate": "parallel"})
            return pyro.sample("x", dist.Binomial(10, self.bias[coin]), obs=x)

    def guide(self, x: Tensor | None = None) -> None:
        """The coin is summed out."""

    def e_step(self, data: Mapping[str, Tensor]) -> tuple[Any, Tensor]:
        joint = dist.Binomial(10, self.bias).log_prob(data["x"][:, None]) - torch.tensor(2.0).log()
        share = joint.softmax(-1)
        return (share.T @ data["x"], 10 * share.sum(0)), joint.logsumexp(-1).sum()

    def m_step(self, statistics: Any) -> None:
        heads, tosses = statistics
        self.bias.copy_(heads / tosses)


class UnknownNormal(LatentVariableModel):
    """``tau ~ Gamma(2, 1)``, ``m ~ Normal(0, 10)``, ``x ~ Normal(m, tau ** -0.5)`` (Bishop 10.1.3, other priors)."""

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        tau = pyro.sample("tau", dist.Gamma(torch.tensor(2.0), 1.0))
        m = pyro.sample("m", dist.Normal(torch.tensor(0.0), 10.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(m, tau.rsqrt()), obs=x)

    def coordinate_guide(self, data: Mapping[str, Tensor], seed: int) -> CoordinateGuide:
        return _Factors()


class _Factors(CoordinateGuide):
    loc: Tensor
    scale: Tensor
    shape: Tensor
    rate: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("loc", "scale", "shape", "rate"):
            self.register_buffer(name, torch.ones(()))

    def forward(self, **batch: Any) -> None:
        pyro.sample("tau", dist.Gamma(self.shape, self.rate))
        pyro.sample("m", dist.Normal(self.loc, self.scale))

    def update(self, data: Mapping[str, Tensor]) -> Tensor:
        self._move(data["x"], 1.0, 1.0)
        return self._bound(data["x"], 1.0)

    def stochastic_update(self, batch: Mapping[str, Tensor], data_size: int, rate: float) -> Tensor:
        scale = data_size / len(batch["x"])
        self._move(batch["x"], scale, rate)
        return self._bound(batch["x"], scale)

    def _move(self, x: Tensor, scale: float, rate: float) -> None:
        mean_tau = self.shape / self.rate
        precision = 0.01 + scale * len(x) * mean_tau
        weighted = scale * mean_tau * x.sum()
        old = self.scale**-2
        new = old + rate * (precision - old)
        self.loc.copy_((old * self.loc + rate * (weighted - old * self.loc)) / new)
        self.scale.copy_(new.rsqrt())
        squares = scale * ((x - self.loc).square().sum() + len(x) * self.scale**2)
        self.shape.lerp_(torch.as_tensor(2 + scale * len(x) / 2), rate)
        self.rate.lerp_(1 + squares / 2, rate)

    def _bound(self, x: Tensor, scale: float) -> Tensor:
        log_tau = self.shape.digamma() - self.rate.log()
        squares = (x - self.loc).square() + self.scale**2
        fit = 0.5 * (log_tau - torch.tensor(2 * torch.pi).log() - self.shape / self.rate * squares).sum() * scale
        kl = kl_divergence(Gamma(self.shape, self.rate), Gamma(torch.tensor(2.0), 1.0))
        return fit - kl - kl_divergence(Normal(self.loc, self.scale), Normal(0.0, 10.0))


@pytest.fixture
def tosses(float64: None) -> Tensor:
    return torch.tensor([5.0, 9.0, 8.0, 4.0, 7.0])


@pytest.fixture
def numbers(float64: None) -> Tensor:
    return 3.0 + 2.0 * torch.randn(200, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def two_coins(float64: None) -> TwoCoins:
    return TwoCoins()


@pytest.fixture
def unknown_normal(float64: None) -> UnknownNormal:
    return UnknownNormal()
