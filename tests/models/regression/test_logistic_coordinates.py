"""Jaakkola's bound for logistic regression, against the evidence by quadrature."""

from __future__ import annotations

import pytest
import torch

from jensen.datasets import breast_cancer
from jensen.inference import CAVI, log_evidence
from jensen.models import BayesianLogisticRegression


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("rows", [30, 300])
def test_the_bound_rises_and_stays_below_the_evidence(intercept, rows, float64):
    torch.manual_seed(0)
    x = torch.randn(rows, 1)
    y = torch.bernoulli(torch.sigmoid(1.5 * x[:, 0] - 0.5))
    guide = BayesianLogisticRegression(1, intercept=intercept).coordinate_guide({"x": x, "y": y}, 0)
    bounds = torch.stack([guide.update({"x": x, "y": y}) for _ in range(60)])
    assert (bounds.diff() > -1e-10).all()

    w = torch.linspace(-8, 8, 801)[:, None, None]
    b = torch.linspace(-15, 15, 801)[:, None] if intercept else torch.zeros(1, 1)
    normal = torch.distributions.Normal
    joint = normal(0.0, 1.0).log_prob(w[..., 0]) + (normal(0.0, 5.0).log_prob(b[:, 0]) if intercept else 0.0)
    for row, label in zip(x[:, 0], y, strict=True):
        joint = joint + torch.nn.functional.logsigmoid((2 * label - 1) * (row * w[..., 0] + b[:, 0]))
    cell = (16 / 800) * (30 / 800 if intercept else 1.0)
    evidence = joint.flatten().logsumexp(0) + torch.tensor(cell).log()
    assert evidence - 0.5 < bounds[-1] < evidence
    weights = (joint - joint.flatten().logsumexp(0)).exp()
    mean = (weights * w[..., 0]).sum()
    deviation = (weights * (w[..., 0] - mean) ** 2).sum().sqrt()
    # The quadratic bound pulls the mean in and is too narrow: a property of the method, which data wash out.
    assert abs(guide.loc[0] - mean) < (0.2 if rows == 30 else 0.1) * deviation
    assert 0.7 < guide.covariance[0, 0].sqrt() / deviation < 1.0


def test_a_fit_by_cavi_is_a_fit(float64):
    data = breast_cancer()
    batch = {"x": data.train["x"].double(), "y": data.train["y"].double()}
    fit = CAVI().fit(BayesianLogisticRegression(30), batch)
    assert fit.info["converged"] and fit.history.bound.is_monotonic_increasing
    evidence = log_evidence(fit, num_particles=4_000)
    assert fit.history.bound.iloc[-1] < evidence.value
    drawn = fit.posterior(2_000)
    torch.testing.assert_close(drawn["w"].mean(0), fit.guide.loc[:30], atol=0.1, rtol=0)
    probability = fit.predict(batch)["y"].mean(0)
    assert ((probability > 0.5) == (batch["y"] > 0.5)).double().mean() > 0.95


def test_columns_far_from_zero_are_fitted_in_float64_and_named_in_float32():
    x = torch.randn(300, 3, dtype=torch.float64)
    y = torch.bernoulli(torch.sigmoid(x[:, 0]))
    for shift in (1e3, 1e4):
        with pytest.raises(ValueError, match=r"singular .* in float32\. Standardise .*dtype=torch\.float64"):
            CAVI(dtype=torch.float32).fit(BayesianLogisticRegression(3), {"x": x + shift, "y": y})
    fit = CAVI().fit(BayesianLogisticRegression(3), {"x": x + 1e4, "y": y})
    assert fit.history.bound.is_monotonic_increasing
    with pytest.raises(ValueError, match=r"in float64\. Standardise the columns of `x`, or fit by SVI"):
        CAVI().fit(BayesianLogisticRegression(3), {"x": x + 1e9, "y": y})
