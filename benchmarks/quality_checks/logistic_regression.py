"""Bayesian logistic regression: guides against long NUTS on breast cancer, and coverage of known coefficients."""

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
    return [*rows, *(_coverage(classes, 2 if quick else 10) for classes in (2, 3))]


def _coverage(classes: int, seeds: int) -> Row:
    """Labels drawn with coefficients drawn from the prior: of these 95% must lie in their 95% intervals."""
    scores = []
    for seed in range(seeds):
        x = torch.randn(500, 4, generator=torch.Generator().manual_seed(seed))
        model = BayesianLogisticRegression(4, num_classes=classes)
        drawn = model.generate(500, seed=seed, x=x)
        method = SVI(
            Trace_ELBO(8),
            steps=4_000,
            lr=0.05,
            guide="multivariate_normal",
            lr_schedule=lambda done: 1.0 if done < 0.5 else 0.01 ** (2 * done - 1),
            progress=False,
        )
        for name, value in method.fit(model, {"x": x, "y": drawn["y"]}, seed=seed).posterior(4_000, seed=seed).items():
            scores.append(((value.mean(0) - drawn[name]) / value.std(0)).flatten())
    found = torch.cat(scores)
    inside = float((found.abs() < 1.96).double().mean())
    return {
        "check": f"{classes} classes, N = 500, {seeds} seeds, full-covariance guide: coefficients in 95% intervals",
        "jensen": f"{inside:.3f} of {len(found)}",
        "peer": "truth, drawn from the prior",
        "target": "0.95 within 3 standard errors",
        "met": abs(inside - 0.95) <= 3 * (0.95 * 0.05 / len(found)) ** 0.5,
    }
