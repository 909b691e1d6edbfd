"""A normal of 30 correlated numbers: what a mean field cannot hold, in closed form."""

from __future__ import annotations

__all__ = ["correlated_gaussian_target"]

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .conditioning import condition
from .moments import normal_moments
from .target import Target

_SOURCE = (
    "Closed form: normal with precision P = I / 100 + S^-1 and mean P^-1 S^-1 y, S[i, j] = 0.9^|i - j|. A normal of "
    "independent numbers that is fitted to it by the bound has the variances 1 / P[i, i]: Bishop (2006), Pattern "
    "Recognition and Machine Learning, section 10.1.2."
)
_SIZE = 30


def correlated_gaussian_target() -> Target:
    r"""Thirty numbers seen once, with errors that go together.

    .. math:: x \sim \mathcal N(0, 10^2 I), \quad y \mid x \sim \mathcal N(x, S), \quad S_{ij} = 0.9^{|i - j|}.
    """
    y = torch.sin(torch.arange(_SIZE, dtype=torch.float64))
    prior = 100.0 * torch.eye(_SIZE, dtype=torch.float64)
    exact = condition(y, prior.diagonal(), prior, prior + _errors().double())
    reference = {"x": normal_moments(exact.mean, exact.sd)}

    def draw(num: int, generator: torch.Generator) -> dict[str, Tensor]:
        posterior = torch.linalg.inv(torch.linalg.inv(_errors().double()) + torch.linalg.inv(prior))
        noise = torch.randn(num, _SIZE, generator=generator, dtype=torch.float64)
        return {"x": exact.mean + noise @ torch.linalg.cholesky(posterior).mT}

    return Target(
        "correlated_gaussian", correlated_gaussian_model, {"y": y}, reference, float(exact.log_evidence), _SOURCE, draw
    )


def correlated_gaussian_model(y: Tensor) -> None:
    # p(x)
    x = pyro.sample("x", dist.Normal(torch.zeros(_SIZE), 10.0).to_event(1))
    # p(y | x)
    pyro.sample("y", dist.MultivariateNormal(x, _errors()), obs=y)


def _errors() -> Tensor:
    place = torch.arange(_SIZE, dtype=torch.get_default_dtype())
    return 0.9 ** (place[:, None] - place).abs()
