"""Eight schools, centred: a hierarchy of few data, whose effects and their scale form a funnel."""

from __future__ import annotations

__all__ = ["EFFECTS", "ERRORS", "SOURCE", "eight_schools_target", "school_moments"]

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .conditioning import condition, marginalize
from .moments import Moments, mixture_moments, node_moments, prior_nodes
from .target import Target

EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)  # of coaching on points of the SAT, by school
ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)  # their standard errors
SOURCE = (
    "Exact up to 1e-8: given tau everything is normal, and tau is integrated by quadrature. Data: Rubin (1981), "
    "Estimation in parallel randomized experiments, https://doi.org/10.3102/10769986006004377; priors as in "
    "posteriordb, https://github.com/stan-dev/posteriordb."
)
_NODES = 60


def eight_schools_target() -> Target:
    r"""Effects of coaching in eight schools, drawn about their mean.

    .. math:: \mu \sim \mathcal N(0, 5^2), \quad \tau \sim \mathrm{HalfCauchy}(5), \quad
        \theta_j \sim \mathcal N(\mu, \tau^2), \quad y_j \sim \mathcal N(\theta_j, \sigma_j^2).
    """
    moments, log_evidence = school_moments()
    reference = {name: moments[name] for name in ("mu", "tau", "theta")}
    data = {"y": torch.tensor(EFFECTS), "sigma": torch.tensor(ERRORS)}
    return Target("eight_schools", eight_schools_model, data, reference, log_evidence, SOURCE)


def eight_schools_model(y: Tensor, sigma: Tensor) -> None:
    # p(mu) p(tau)
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        # p(theta_j | mu, tau)
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        # p(y_j | theta_j)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def school_moments() -> tuple[dict[str, Moments], float]:
    """Of mu, tau, theta and the standardised effects ``z = (theta - mu) / tau``; and the log evidence."""
    y, sigma = torch.tensor(EFFECTS, dtype=torch.float64), torch.tensor(ERRORS, dtype=torch.float64)
    u, prior = prior_nodes(_NODES)
    tau = _quantile(u)[:, None]  # (K, 1)
    ones, eye = torch.ones(8, dtype=torch.float64), torch.eye(8, dtype=torch.float64)
    shared = 25.0 * torch.outer(ones, ones)  # the part of mu
    own = tau[..., None].square() * eye
    covariance = shared + own + sigma.square().diag()
    variance = torch.cat([25.0 * torch.ones_like(tau), 25.0 + tau.square() * ones, torch.ones_like(tau) * ones], -1)
    cross = torch.cat([25.0 * ones.expand(_NODES, 1, 8), shared + own, tau[..., None] * eye], -2)
    found = condition(y, variance, cross, covariance)
    weights, log_evidence = marginalize(found.log_evidence, prior)
    mu, theta, z = (
        mixture_moments(weights, mean.squeeze(-1), sd.squeeze(-1))
        for mean, sd in zip(found.mean.split([1, 8, 8], -1), found.sd.split([1, 8, 8], -1), strict=True)
    )
    return {"mu": mu, "tau": node_moments(weights, _quantile), "theta": theta, "z": z}, log_evidence


def _quantile(p: Tensor) -> Tensor:
    """Of HalfCauchy(5)."""
    return 5.0 * torch.tan(0.5 * math.pi * p)
