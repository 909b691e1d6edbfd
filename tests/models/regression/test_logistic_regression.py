"""Bayesian logistic regression against the density written out, scikit-learn's mode, quadrature and bad input."""

from __future__ import annotations

import pytest
import scipy.special
import scipy.stats
import sklearn.linear_model
import torch
from pyro import poutine

from jensen.datasets import breast_cancer, iris
from jensen.inference import CAVI, SVI, Trace_ELBO, TraceMeanField_ELBO, log_evidence
from jensen.models import BayesianLogisticRegression


def log_joint(model, values, x, y):
    return poutine.trace(poutine.condition(model.model, values)).get_trace(x, y).log_prob_sum()


def test_density_is_the_written_one():
    torch.manual_seed(0)
    x, w, b = torch.randn(6, 3).double(), torch.randn(3).double(), torch.tensor(0.4).double()
    y = torch.tensor([0, 1, 1, 0, 1, 0])
    model = BayesianLogisticRegression(3, prior_scale=2.0, intercept_scale=4.0)
    p = scipy.special.expit((x @ w + b).numpy())
    expected = (
        scipy.stats.norm(0, 2).logpdf(w).sum()
        + scipy.stats.norm(0, 4).logpdf(b)
        + scipy.stats.bernoulli(p).logpmf(y).sum()
    )
    assert log_joint(model, {"w": w, "intercept": b}, x, y).item() == pytest.approx(expected, rel=1e-12)


def test_density_of_more_classes_and_a_hierarchical_prior_is_the_written_one():
    torch.manual_seed(0)
    x, w, b = torch.randn(6, 2).double(), torch.randn(3, 2).double(), torch.randn(3).double()
    scale, y = torch.tensor(0.7, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    model = BayesianLogisticRegression(2, prior_scale=2.0, num_classes=3, hierarchical=True)
    log_p = scipy.special.log_softmax((x @ w.T + b).numpy(), -1)
    expected = (
        scipy.stats.halfnorm(0, 2).logpdf(scale)
        + scipy.stats.norm(0, 0.7).logpdf(w).sum()
        + scipy.stats.norm(0, 5).logpdf(b).sum()
        + sum(row[label] for row, label in zip(log_p, y, strict=True))
    )
    found = log_joint(model, {"w": w, "intercept": b, "weight_scale": scale}, x, y)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_the_mode_of_three_classes_is_that_of_scikit_learn(float64):
    data = iris()
    x, y = data.train["x"].double(), data.train["y"]
    model = BayesianLogisticRegression(x.shape[1], num_classes=3, intercept=False)
    w = torch.zeros(3, x.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def closure():
        optimiser.zero_grad()
        loss = -log_joint(model, {"w": w}, x, y)
        loss.backward()
        return loss

    optimiser.step(closure)
    peer = sklearn.linear_model.LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=5_000)
    peer.fit(x.numpy(), y.numpy())
    torch.testing.assert_close(w.detach(), torch.as_tensor(peer.coef_), atol=1e-4, rtol=0)


def test_probabilities_carry_the_uncertainty_of_the_weights(float64):
    data = iris()
    x, y = data.train["x"].double(), data.train["y"]
    method = SVI(Trace_ELBO(8), steps=1_500, lr=0.02, guide="multivariate_normal", compile="trace")
    model = BayesianLogisticRegression(4, num_classes=3, hierarchical=True)
    fit = method.fit(model, {"x": x, "y": y}, seed=0)
    draws = fit.posterior(500, seed=1)
    found = model.probabilities(x, **draws)
    assert found.shape == (500, len(x), 3)
    torch.testing.assert_close(found.sum(-1), torch.ones(500, len(x)))
    assert (found.mean(0).argmax(-1) == y).double().mean() > 0.93
    # Far from the data the classes are less certain than a point estimate says.
    point = model.probabilities(10 * x, draws["w"].mean(0)[None], draws["intercept"].mean(0)[None])[0]
    mean = model.probabilities(10 * x, **draws).mean(0)
    assert (mean.max(-1).values <= point.max(-1).values + 1e-3).double().mean() > 0.9
    assert log_evidence(fit, num_particles=1_000, seed=2).value > fit.history.bound.iloc[-1]


def test_the_hierarchical_prior_follows_the_weights(float64):
    torch.manual_seed(0)
    x = torch.randn(2_000, 10)
    found = []
    for scale in (0.2, 2.0):
        y = torch.bernoulli(torch.sigmoid(x @ (scale * torch.randn(10))))
        model = BayesianLogisticRegression(10, intercept=False, hierarchical=True, prior_scale=3.0)
        fit = SVI(TraceMeanField_ELBO(), steps=1_500, lr=0.02, compile="trace").fit(model, {"x": x, "y": y}, seed=0)
        draws = fit.posterior(1_000, seed=0)
        found.append(float(draws["weight_scale"].median()))
        assert found[-1] == pytest.approx(float(draws["w"].square().mean(-1).sqrt().mean()), rel=0.35)
    assert found[0] < 0.5 < 1.2 < found[1]


@pytest.mark.parametrize("options", [{"num_classes": 3}, {"hierarchical": True}])
def test_coordinate_ascent_says_what_it_needs(options):
    x, y = torch.randn(9, 2), torch.tensor([0, 1, 0] * 3)
    with pytest.raises(ValueError, match=r"CAVI needs .* two classes and a fixed prior scale, which .* lacks"):
        CAVI().fit(BayesianLogisticRegression(2, **options), {"x": x, "y": y})


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


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(ValueError, match=r"`y` must hold labels in 0, ..., 2, got 3"):
        BayesianLogisticRegression(1, num_classes=3).check_data(torch.zeros(2, 1), torch.tensor([0, 3]))


@pytest.mark.parametrize("argument", ["num_features", "prior_scale", "intercept_scale"])
def test_bad_sizes_are_refused(argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be positive, got 0"):
        BayesianLogisticRegression(**{"num_features": 2, argument: 0})
    with pytest.raises(ValueError, match="`num_classes` must be at least 2, got 1"):
        BayesianLogisticRegression(2, num_classes=1)


def test_two_classes_are_told_apart():
    data = breast_cancer()
    model = BayesianLogisticRegression(30)
    fit = SVI(TraceMeanField_ELBO(), steps=1_000, lr=0.02, compile="trace").fit(model, data.train, seed=0)
    probability = model.probabilities(data.train["x"], **fit.posterior(200, seed=0)).mean(0)
    assert ((probability > 0.5) == (data.train["y"] > 0.5)).float().mean() > 0.95
