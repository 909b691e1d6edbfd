"""A banana: a normal bent along a parabola."""

from __future__ import annotations

__all__ = ["banana_target"]

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .moments import Moments, mixture_moments, normal_moments
from .target import Target

_SOURCE = (
    "Closed form: a and b have mean 0, sd a = 10, Var b = 1 + 2 (0.03 * 100)^2 = 19; quantiles of b by integration "
    "over a. Haario, Saksman and Tamminen (1999), Adaptive proposal distribution for random walk Metropolis algorithm, "
    "https://doi.org/10.1007/s001800050022."
)


def banana_target() -> Target:
    r"""Two numbers, one about a parabola of the other, and an observation that says nothing of them.

    .. math:: a \sim \mathcal N(0, 10^2), \quad b \sim \mathcal N(0.03\, (a^2 - 100), 1), \quad y \sim \mathcal N(0, 1).

    The posterior is the prior; y is there for fits observe something.
    """
    reference = {"a": normal_moments(torch.tensor(0.0), torch.tensor(10.0)), "b": _bent()}
    log_evidence = -0.5 * math.log(2.0 * math.pi)
    return Target("banana", banana_model, {"y": torch.zeros(1)}, reference, log_evidence, _SOURCE, _draw)


def banana_model(y: Tensor) -> None:
    # p(a)
    a = pyro.sample("a", dist.Normal(0.0, 10.0))
    # p(b | a)
    pyro.sample("b", dist.Normal(0.03 * (a.square() - 100.0), 1.0))
    with pyro.plate("data", len(y)):
        # p(y)
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def _bent() -> Moments:
    """Of b: a mixture over a of normals; its moments have closed forms."""
    a = torch.linspace(-120.0, 120.0, 4_001, dtype=torch.float64)
    weights = torch.softmax(-0.5 * (a / 10.0).square(), 0)
    found = mixture_moments(weights, 0.03 * (a.square() - 100.0), torch.ones_like(a))
    return Moments(torch.tensor(0.0), torch.tensor(19.0, dtype=torch.float64).sqrt(), found.quantiles)


def _draw(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    a = 10.0 * torch.randn(num, generator=generator, dtype=torch.float64)
    noise = torch.randn(num, generator=generator, dtype=torch.float64)
    return {"a": a, "b": 0.03 * (a.square() - 100.0) + noise}
