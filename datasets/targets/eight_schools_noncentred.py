"""Eight schools, not centred: the same posterior in coordinates without the funnel."""

from __future__ import annotations

__all__ = ["eight_schools_noncentred_target"]

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from .eight_schools import EFFECTS, ERRORS, SOURCE, school_moments
from .target import Target


def eight_schools_noncentred_target() -> Target:
    r"""Effects of coaching in eight schools, each the mean plus the scale times noise.

    .. math:: \mu \sim \mathcal N(0, 5^2), \quad \tau \sim \mathrm{HalfCauchy}(5), \quad z_j \sim \mathcal N(0, 1),
        \quad \theta_j = \mu + \tau z_j, \quad y_j \sim \mathcal N(\theta_j, \sigma_j^2).
    """
    reference, log_evidence = school_moments()
    data = {"y": torch.tensor(EFFECTS), "sigma": torch.tensor(ERRORS)}
    return Target("eight_schools_noncentred", eight_schools_noncentred_model, data, reference, log_evidence, SOURCE)


def eight_schools_noncentred_model(y: Tensor, sigma: Tensor) -> None:
    # p(mu) p(tau)
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        # p(z_j)
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        theta = pyro.deterministic("theta", mu + tau * z)
        # p(y_j | theta_j)
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)
