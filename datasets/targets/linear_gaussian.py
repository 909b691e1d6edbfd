"""Linear regression with known noise: posterior and evidence in closed form."""

from __future__ import annotations

__all__ = ["linear_gaussian_target"]

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .conditioning import condition
from .moments import normal_moments
from .target import Target

_SOURCE = (
    "Closed form: w given y is normal with precision P = I + x^T x / 4 and mean P^-1 x^T y / 4; y is normal with "
    "covariance x x^T + 4 I. Bishop (2006), Pattern Recognition and Machine Learning, section 3.3."
)
_NOISE = 2.0


def linear_gaussian_target() -> Target:
    r"""A line and three waves in forty noisy points, which overlap so that their weights are correlated.

    .. math:: w \sim \mathcal N(0, I_5), \quad y_n \sim \mathcal N(x_n^\top w, 2^2).
    """
    t = torch.linspace(0.0, 2.0, 40, dtype=torch.float64)
    x = torch.stack([torch.ones_like(t), t, torch.sin(t), torch.cos(2.0 * t), torch.sin(3.0 * t)], -1)
    y = 1.0 + t - torch.cos(2.0 * t) + _NOISE * torch.sin(997.0 * t.square())
    exact = condition(y, torch.ones(5, dtype=torch.float64), x.mT, x @ x.mT + _NOISE**2 * torch.eye(40).double())
    reference = {"w": normal_moments(exact.mean, exact.sd)}

    def draw(num: int, generator: torch.Generator) -> dict[str, Tensor]:
        posterior = torch.linalg.inv(torch.eye(5, dtype=torch.float64) + x.mT @ x / _NOISE**2)
        noise = torch.randn(num, 5, generator=generator, dtype=torch.float64)
        return {"w": exact.mean + noise @ torch.linalg.cholesky(posterior).mT}

    data = {"x": x, "y": y}
    return Target("linear_gaussian", linear_gaussian_model, data, reference, float(exact.log_evidence), _SOURCE, draw)


def linear_gaussian_model(x: Tensor, y: Tensor) -> None:
    # p(w)
    w = pyro.sample("w", dist.Normal(torch.zeros(5), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        # p(y_n | x_n, w)
        pyro.sample("y", dist.Normal(x @ w, _NOISE), obs=y)
