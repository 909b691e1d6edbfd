"""A mixture of two normals that overlap, with each datum's component summed out."""

from __future__ import annotations

__all__ = ["VALUES", "mixture_target"]

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .moments import read_moments
from .target import Target

VALUES = (
    -2.6, -2.1, -1.9, -1.7, -1.5, -1.4, -1.2, -1.1, -1.0, -0.9, -0.7, -0.6, -0.3, -0.1, 0.2, 0.4, 0.5, 0.7, 0.9, 1.0,
    1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.7, 2.9, 3.2, 3.6,
)  # fmt: skip
_SOURCE = (
    "Long NUTS by jensen and by NumPyro, which agree (benchmarks/reference_moments.py; its figures are in "
    "datasets/targets/mixture.json). The data are made up."
)


def mixture_target() -> Target:
    r"""Forty numbers of two kinds; the priors of the means say which kind is which, so that labels do not swap.

    .. math:: w \sim \mathrm{Beta}(2, 2), \quad \mu_0 \sim \mathcal N(-1, 0.5^2), \quad \mu_1 \sim \mathcal N(2, 0.5^2),
        \quad \sigma \sim \mathrm{HalfNormal}(1), \quad c_n \sim \mathrm{Bernoulli}(w), \quad
        y_n \sim \mathcal N(\mu_{c_n}, \sigma^2).
    """
    reference, _ = read_moments("mixture")
    return Target("mixture", mixture_model, {"y": torch.tensor(VALUES)}, reference, None, _SOURCE)


def mixture_model(y: Tensor) -> None:
    # p(w) p(mu) p(sigma)
    w = pyro.sample("w", dist.Beta(2.0, 2.0))
    mu = pyro.sample("mu", dist.Normal(torch.tensor([-1.0, 2.0]), 0.5).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("data", len(y)):
        # p(c_n | w), summed out
        c = pyro.sample("c", dist.Bernoulli(w), infer={"enumerate": "parallel"})
        # p(y_n | c_n, mu, sigma)
        pyro.sample("y", dist.Normal(mu[c.long()], sigma), obs=y)
