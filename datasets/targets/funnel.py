"""Neal's funnel: a scale that spans orders of magnitude, and what has it."""

from __future__ import annotations

__all__ = ["funnel_target"]

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .moments import Moments, mixture_moments, normal_moments
from .target import Target

_SOURCE = (
    "Closed form: v is normal, E x = 0, sd x = exp(9/4); quantiles of x by integration over v. Neal (2003), Slice "
    "sampling, section 8, https://doi.org/10.1214/aos/1056562461."
)


def funnel_target() -> Target:
    r"""Nine numbers with one random scale, and an observation that says nothing of them.

    .. math:: v \sim \mathcal N(0, 3^2), \quad x_i \sim \mathcal N(0, e^v) \quad (i = 1, \dots, 9), \quad
        y \sim \mathcal N(0, 1).

    The posterior is the prior; y is there for fits observe something.
    """
    reference = {"v": normal_moments(torch.tensor(0.0), torch.tensor(3.0)), "x": _scaled()}
    log_evidence = -0.5 * math.log(2.0 * math.pi)
    return Target("funnel", funnel_model, {"y": torch.zeros(1)}, reference, log_evidence, _SOURCE, _draw)


def funnel_model(y: Tensor) -> None:
    # p(v)
    v = pyro.sample("v", dist.Normal(0.0, 3.0))
    # p(x | v)
    pyro.sample("x", dist.Normal(torch.zeros(9), (0.5 * v).exp()).to_event(1))
    with pyro.plate("data", len(y)):
        # p(y)
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def _scaled() -> Moments:
    """Of x: a mixture over v of normals; its sd has a closed form."""
    v = torch.linspace(-36.0, 36.0, 2_001, dtype=torch.float64)
    weights = torch.softmax(-0.5 * (v / 3.0).square(), 0)
    one = mixture_moments(weights, torch.zeros_like(v), (0.5 * v).exp())
    zeros = torch.zeros(9, dtype=torch.float64)
    return Moments(zeros, torch.full_like(zeros, math.exp(9.0 / 4.0)), one.quantiles[:, None].expand(-1, 9))


def _draw(num: int, generator: torch.Generator) -> dict[str, Tensor]:
    v = 3.0 * torch.randn(num, generator=generator, dtype=torch.float64)
    noise = torch.randn(num, 9, generator=generator, dtype=torch.float64)
    return {"v": v, "x": (0.5 * v).exp()[:, None] * noise}
