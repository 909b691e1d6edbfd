"""Bayesian logistic regression on breast cancer: a full-covariance guide and a mean-field one against long NUTS."""

from __future__ import annotations

from typing import Any

import torch

from jensen.datasets import breast_cancer
from jensen.inference import SVI, Trace_ELBO, TraceMeanField_ELBO
from jensen.models import BayesianLogisticRegression

from ._nuts import compare, describe, long_run, settle

__all__ = ["run"]

Row = dict[str, Any]


def run(quick: bool) -> list[Row]:
    """The rows of the table."""
    torch.set_default_dtype(torch.float64)
    train = breast_cancer().train
    data = {"x": train["x"].double(), "y": train["y"].double()}
    model = BayesianLogisticRegression(30)
    reference = long_run(model, data, draws=500 if quick else 3_000)
    steps = 3_000 if quick else 10_000
    rows = []
    for guide, objective in (("multivariate_normal", Trace_ELBO(16)), ("normal", TraceMeanField_ELBO(16))):
        method = SVI(objective, steps=steps, lr=0.05, guide=guide, lr_schedule=settle)
        found = compare(reference, method.fit(model, data, seed=0).posterior(20_000, seed=1))
        rows += describe("breast cancer, N = 569, 31 latents", guide, found, len(reference["w"][0]))
    return rows
