"""Bayesian logistic regression on the breast cancer data: 31 correlated weights."""

from __future__ import annotations

__all__ = ["logistic_regression_target"]

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from ..embedded import breast_cancer
from .moments import read_moments
from .target import Target

_SOURCE = (
    "Long NUTS by jensen and by NumPyro, which agree (benchmarks/reference_moments.py; its figures are in "
    "datasets/targets/logistic_regression.json). Data: Street, Wolberg and Mangasarian (1993), Nuclear feature "
    "extraction for breast tumor diagnosis, https://doi.org/10.24432/C5DW2B."
)


def logistic_regression_target() -> Target:
    r"""Whether each of 569 tumours is benign, by 30 standardised features.

    .. math:: w \sim \mathcal N(0, I_{30}), \quad b \sim \mathcal N(0, 1), \quad
        y_n \sim \mathrm{Bernoulli}(\operatorname{logit}^{-1}(x_n^\top w + b)).
    """
    reference, _ = read_moments("logistic_regression")
    data = breast_cancer(dtype=torch.float64).train
    return Target("logistic_regression", logistic_regression_model, data, reference, None, _SOURCE)


def logistic_regression_model(x: Tensor, y: Tensor) -> None:
    # p(w) p(b)
    w = pyro.sample("w", dist.Normal(torch.zeros(30), 1.0).to_event(1))
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        # p(y_n | x_n, w, b)
        pyro.sample("y", dist.Bernoulli(logits=x @ w + b), obs=y)
