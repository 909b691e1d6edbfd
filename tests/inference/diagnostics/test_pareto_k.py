"""pareto_k: one k-hat a fit or one a datum, the worst and the share, exact and bad guides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from jensen.inference.diagnostics import log_evidence, pareto_k
from jensen.inference.errors import ModelError
from jensen.models.factors.linear_gaussian import LinearGaussian
from jensen.models.regression.linear_regression import BayesianLinearRegression

Make = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("float64")


def test_exact_posterior(bare_fit: Make) -> None:
    model = LinearGaussian(4, 2)
    x = model.generate(25, seed=0)["x"]
    model.set_exact_guide()
    e = pareto_k(bare_fit(model, x=x))
    assert (e.value, e.stderr, e.details["share_above"]) == (-math.inf, 0.0, 0.0)


@pytest.mark.parametrize("scale", [0.5, 0.7])
def test_the_index_of_a_too_narrow_normal(bare_fit: Make, scale: float) -> None:
    """w ~ exp(-z^2 (1 - s^2) / 2), z ~ N(0, s^2): the tail index is 1 - s^2 (slowly, from below)."""
    model = LinearGaussian(1, 1)
    x = model.generate(200, seed=0)["x"]
    model.set_exact_guide()
    with torch.no_grad():
        model.guide_scale = model.guide_scale * scale
    e = pareto_k(bare_fit(model, x=x), num_particles=4_000)
    k = e.details["pareto_k"]
    assert k.shape == (200,) and e.value == k.max() == k[e.details["worst"]]
    assert abs(k.mean() - (1 - scale**2)) < 0.12
    assert e.details["share_above"] == (k > 0.7).double().mean()
    assert e.details["threshold"] == 0.7 and not e.details["joint"]


def test_global_latent_has_one(bare_fit: Make) -> None:
    model = BayesianLinearRegression(2)
    x = torch.randn(50, 2)
    y = model.generate(50, x=x, seed=0)["y"]
    posterior = model.exact_posterior({"x": x, "y": y})["w"]

    def guide_of(widen: float) -> Callable[..., None]:
        def guide(x: Tensor, y: Tensor | None = None) -> None:
            pyro.sample("w", dist.MultivariateNormal(posterior.loc, scale_tril=widen * posterior.scale_tril))

        return guide

    exact, wide, narrow = (pareto_k(bare_fit(model, guide_of(w), x=x, y=y)) for w in (1.0, 1.3, 0.3))
    assert exact.value == -math.inf
    assert wide.value < 0.5 and wide.details["share_above"] == 0.0
    assert narrow.value > 0.7 and narrow.details["share_above"] == 1.0
    assert wide.details["joint"] and wide.details["pareto_k"].shape == () and wide.details["worst"] is None


def test_same_weights_as_the_evidence(bare_fit: Make) -> None:
    model = LinearGaussian(3, 2)
    fit = bare_fit(model, x=model.generate(10, seed=0)["x"])
    ours = pareto_k(fit, seed=4, num_particles=500).details["pareto_k"]
    assert torch.equal(ours, log_evidence(fit, seed=4, num_particles=500).details["pareto_k"])


def test_threshold_of_few_draws(bare_fit: Make) -> None:
    model = LinearGaussian(3, 2)
    fit = bare_fit(model, x=model.generate(10, seed=0)["x"])
    assert pareto_k(fit, num_particles=100).details["threshold"] == pytest.approx(0.5)
    few = pareto_k(fit, num_particles=10)
    assert few.value == math.inf and math.isnan(few.stderr) and few.details["share_above"] == 1.0


def test_point_mass(bare_fit: Make) -> None:
    def guide(x: Tensor, y: Tensor | None = None) -> None:
        pyro.sample("w", dist.Delta(torch.zeros(2), event_dim=1))

    fit = bare_fit(BayesianLinearRegression(2), guide, x=torch.randn(10, 2), y=torch.randn(10))
    with pytest.raises(ModelError, match="`pareto_k` needs a guide with a density, but the guide of `w`"):
        pareto_k(fit)
