"""Paths are followed until two assured bounds agree; and starts survive priors under which a rate overflows."""

from __future__ import annotations

from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from jensen.inference import SVI
from jensen.inference.methods.pathfinder.normal import Normal
from jensen.inference.methods.pathfinder.path import PathResult
from jensen.inference.methods.svi import start as start_module


class _Target:
    def __init__(self, paths: list[PathResult]) -> None:
        self.starts, self.paths = list(torch.zeros(17, 1)), iter(paths)

    def follow(self, start: Tensor) -> PathResult:
        return next(self.paths)


def _result(bound: float, stderr: float) -> PathResult:
    return PathResult(Normal(torch.zeros(1), torch.eye(1)), bound, stderr, 1, True)


def test_noisy_bounds_are_no_agreement() -> None:
    """Two bounds in a funnel, one of them give or take 14 nats, do not hide the mode that later paths find."""
    paths = [_result(-424.0, 0.4), _result(-418.0, 14.0), _result(-345.0, 0.3), _result(-345.1, 0.3)]
    found = start_module._paths(_Target(paths))  # type: ignore[arg-type]
    assert len(found) == 4 and max(found, key=start_module._assured).bound == -345.0


def _incomes(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 100.0))
    b = pyro.sample("b", dist.Normal(0.0, 100.0))
    k = pyro.sample("k", dist.HalfNormal(10.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Gamma(k, k * torch.exp(-a - b * x)), obs=y)


@pytest.mark.parametrize("start", ["pathfinder", "prior"])
def test_a_rate_that_overflows_under_the_prior(start: str) -> None:
    """Draws from the prior give rates of zero and infinity: no reason to stop, nor to start at such a draw."""
    x = torch.linspace(20, 65, 40)
    y = torch.exp(9.5 + 0.02 * x) * (1.0 + 0.2 * torch.sin(7 * x))
    svi = SVI(guide="multivariate_normal", start=start, steps=20, progress=False, device="cpu")
    fit = svi.fit(_incomes, {"x": x, "y": y})
    assert fit.info["start"]["kind"] == start
    if start == "pathfinder":
        assert abs(float(fit.posterior(500)["b"].mean()) - 0.02) < 0.01


@dataclass(frozen=True)
class _Settings:
    name: str
    width: float


_SETTINGS = _Settings("wide", 100.0)


def test_frozen_settings_that_a_program_reads_are_left_alone() -> None:
    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(0.0, _SETTINGS.width))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    fit = SVI(steps=5, progress=False, device="cpu").fit(model, {"x": torch.ones(5)})
    assert fit.info["start"]["kind"] == "pathfinder"
