"""Bayesian logistic regression against the density written out."""

from __future__ import annotations

import pytest
import scipy.special
import scipy.stats
import torch
from pyro import poutine

from jensen.models import BayesianLogisticRegression


def test_density_is_the_written_one():
    torch.manual_seed(0)
    x, w, b = torch.randn(6, 3).double(), torch.randn(3).double(), torch.tensor(0.4).double()
    y = torch.tensor([0, 1, 1, 0, 1, 0])
    model = BayesianLogisticRegression(3, prior_scale=2.0, intercept_scale=4.0)
    trace = poutine.trace(poutine.condition(model.model, {"w": w, "intercept": b})).get_trace(x, y)
    p = scipy.special.expit((x @ w + b).numpy())
    expected = (
        scipy.stats.norm(0, 2).logpdf(w).sum()
        + scipy.stats.norm(0, 4).logpdf(b)
        + scipy.stats.bernoulli(p).logpmf(y).sum()
    )
    assert trace.log_prob_sum().item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"x": torch.zeros(3, 2)}, r"`x` must have shape \(N, 4\)"),
        ({"x": torch.zeros(3)}, r"`x` must have shape \(N, 4\)"),
        ({"x": torch.zeros(3, 4), "y": torch.tensor([0.0, 2.0, 1.0])}, r"`y` must hold labels in \{0, 1\}, got 2"),
        ({"x": torch.zeros(3, 4), "y": torch.tensor([0, -1, 1])}, r"`y` must hold labels in \{0, 1\}, got -1"),
        ({"x": torch.zeros(3, 4), "y": torch.tensor([0.0, 0.5, 1.0])}, "got 0.5"),
        ({"x": torch.zeros(3, 4), "y": torch.zeros(3, 1)}, "`y` must be a vector of labels"),
    ],
)
def test_bad_data_are_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        BayesianLogisticRegression(4).check_data(**batch)


@pytest.mark.parametrize("argument", ["num_features", "prior_scale", "intercept_scale"])
def test_bad_sizes_are_refused(argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be positive, got 0"):
        BayesianLogisticRegression(**{"num_features": 2, argument: 0})
