"""A latent AR(1) series seen with noise: one site a step, under `pyro.markov`."""

from __future__ import annotations

__all__ = ["SERIES", "ar1_target"]

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .conditioning import condition, marginalize
from .moments import Moments, mixture_moments, node_moments, prior_nodes
from .target import Target

SERIES = (0.7, 2.1, 1.6, 0.4, -0.9, -2.2, -1.1, -1.9, -0.2, 0.3, 1.8, 1.1, 2.4, 2.0, 0.6, -0.7, 0.1, -1.4, -0.6, 0.9)
_SOURCE = (
    "Exact up to 1e-8: given phi and sigma everything is normal, and these are integrated by quadrature. The data are "
    "made up."
)
_NOISE, _NODES = 0.3, 48


def ar1_target() -> Target:
    r"""Twenty steps of a series, each seen with an error.

    .. math:: \phi \sim \mathrm{Uniform}(-1, 1), \quad \sigma \sim \mathrm{HalfNormal}(1), \quad
        x_t \sim \mathcal N(\phi x_{t-1}, \sigma^2), \quad y_t \sim \mathcal N(x_t, 0.3^2), \quad x_{-1} = 0.
    """
    reference, log_evidence = _exact()
    return Target("ar1", ar1_model, {"y": torch.tensor(SERIES)}, reference, log_evidence, _SOURCE)


def ar1_model(y: Tensor) -> None:
    # p(phi) p(sigma)
    phi = pyro.sample("phi", dist.Uniform(-1.0, 1.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    x = torch.zeros(())
    for t in pyro.markov(range(len(y))):
        # p(x_t | x_{t-1})
        x = pyro.sample(f"x_{t}", dist.Normal(phi * x, sigma))
        # p(y_t | x_t)
        pyro.sample(f"y_{t}", dist.Normal(x, _NOISE), obs=y[t])


def _exact() -> tuple[dict[str, Moments], float]:
    y = torch.tensor(SERIES, dtype=torch.float64)
    size = len(y)
    u, prior = prior_nodes(_NODES)
    phi, sigma = _phi(u)[:, None, None, None], _sigma(u)[:, None, None]
    t = torch.arange(size, dtype=torch.float64)
    lag = t[:, None] - t
    response = torch.where(lag >= 0, phi ** lag.clamp(min=0), torch.zeros(()).double())  # x = response @ noise
    series = sigma.square() * (response @ response.mT)  # (phi, sigma, T, T)
    covariance = series + _NOISE**2 * torch.eye(size, dtype=torch.float64)
    found = condition(y, series.diagonal(dim1=-2, dim2=-1), series, covariance)
    weights, log_evidence = marginalize(found.log_evidence.flatten(), torch.outer(prior, prior).flatten())
    states = mixture_moments(weights, found.mean.reshape(-1, size), found.sd.reshape(-1, size))
    table = weights.reshape(_NODES, _NODES)
    reference = {"phi": node_moments(table.sum(1), _phi), "sigma": node_moments(table.sum(0), _sigma)}
    for k in range(size):
        reference[f"x_{k}"] = Moments(states.mean[k], states.sd[k], states.quantiles[:, k])
    return reference, log_evidence


def _phi(p: Tensor) -> Tensor:
    """The quantiles of Uniform(-1, 1)."""
    return 2.0 * p - 1.0


def _sigma(p: Tensor) -> Tensor:
    """The quantiles of HalfNormal(1)."""
    return math.sqrt(2.0) * torch.erfinv(p)
