"""`log_p` and `log_q` of the draws in ArviZ: against the exact evidence, for every kind of guide; tables of latents."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import Tensor

from jensen.inference import NUTS, Fit, log_evidence
from jensen.inference.guides import build_guide
from jensen.models import GaussianMixture, LatentVariableModel
from jensen.models.factors.linear_gaussian import LinearGaussian
from jensen.models.regression.linear_regression import BayesianLinearRegression

pytestmark = pytest.mark.usefixtures("float64")


def _fit(model: Any, guide: Any = None, **data: Tensor) -> Fit:
    return Fit("by hand", {}, model, guide, pd.DataFrame({"step": [0], "bound": [0.0]}), data=data)


def _log_weights(idata: Any) -> Tensor:
    stats = idata.sample_stats
    return torch.tensor((stats["log_p"] - stats["log_q"]).values[0])


class Rate(LatentVariableModel):
    """r ~ Gamma(3, 2), x_n ~ Poisson(r): the evidence is that of a sum, and r is positive."""

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        r = pyro.sample("r", dist.Gamma(torch.tensor(3.0), 2.0))
        with pyro.plate("data", len(x)):  # type: ignore[arg-type]
            return pyro.sample("x", dist.Poisson(r), obs=x)


@pytest.mark.parametrize("guide", ["normal", AutoNormal, "multivariate_normal", "lowrank", "flow"])
def test_their_ratio_is_an_importance_weight(guide: Any) -> None:
    """Its mean is the evidence, with the Jacobian of the positive latent in either density."""
    x = torch.tensor([1.0, 2.0, 0.0, 3.0])
    n, total = len(x), float(x.sum())
    exact = torch.tensor(3.0).mul(torch.tensor(2.0).log()) - torch.lgamma(torch.tensor(3.0)) - (x + 1.0).lgamma().sum()
    exact = float(exact + torch.lgamma(torch.tensor(3.0 + total)) - (3.0 + total) * torch.tensor(2.0 + n).log())
    model = Rate()
    built = build_guide(guide, model, {"x": x})
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith(("log_scale_r", "scale_unconstrained", "r_unconstrained")):
                parameter.fill_(-0.7 if "log" in name else 0.0)
    fit = _fit(model, built, x=x)
    idata = fit.to_arviz(4_000)
    weights = _log_weights(idata)
    scale = (weights - weights.max()).exp()
    error = float(scale.std() / scale.mean()) / 4_000**0.5
    found = float(torch.logsumexp(weights, 0)) - np.log(4_000)
    assert abs(found - exact) < 5 * error + 1e-9 and error < 0.2
    r = torch.tensor(idata.posterior["r"].values[0])
    prior = dist.Gamma(torch.tensor(3.0), 2.0).log_prob(r)
    likelihood = dist.Poisson(r.unsqueeze(-1)).log_prob(x).sum(-1)
    torch.testing.assert_close(torch.tensor(idata.sample_stats["log_p"].values[0]), prior + likelihood)
    if guide == "normal":
        log_q = built.factor(built.sites[0]).log_prob(r).detach()
        torch.testing.assert_close(torch.tensor(idata.sample_stats["log_q"].values[0]), log_q)


def test_local_and_summed_out_latents() -> None:
    """Draws of both are in the posterior; the exact posterior has weights that are all the evidence."""
    model = LinearGaussian(3, 2)
    x = model.generate(6, seed=0)["x"]
    model.set_exact_guide()
    weights = _log_weights(_fit(model, x=x).to_arviz(20))
    exact = float(model.log_evidence({"x": x}).detach().sum())
    torch.testing.assert_close(weights, torch.full((20,), exact), rtol=1e-8, atol=1e-8)


def test_latents_that_only_the_model_has_are_summed_out() -> None:
    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 2.0))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
            pyro.sample("x", dist.Normal(m + 3.0 * c, 1.0), obs=x)

    x = torch.tensor([0.1, 2.9, 3.2, -0.4])
    fit = _fit(model, build_guide("normal", model, {"x": x}), x=x)
    idata = fit.to_arviz(200)
    assert "c" in idata.posterior
    m = torch.tensor(idata.posterior["m"].values[0])
    mixture = torch.stack([dist.Normal(m + 3.0 * c, 1.0).log_prob(x[:, None]) for c in (0.0, 1.0)])
    likelihood = (mixture + torch.tensor([0.7, 0.3]).log()[:, None, None]).logsumexp(0).sum(0)
    exact = likelihood + dist.Normal(torch.tensor(0.0), 2.0).log_prob(m)
    torch.testing.assert_close(torch.tensor(idata.sample_stats["log_p"].values[0]), exact)


def test_where_there_are_none() -> None:
    """Point masses, stored draws, other data, no log likelihood, nothing drawn; the posterior's draws stay the same."""
    x = torch.tensor([1.0, 2.0, 0.0, 3.0])
    fit = _fit(Rate(), build_guide("normal", Rate(), {"x": x}), x=x)
    with_them, without = fit.to_arviz(20), fit.to_arviz(20, log_likelihood=False)
    assert "sample_stats" in with_them.groups() and "sample_stats" not in without.groups()
    np.testing.assert_array_equal(with_them.posterior["r"], without.posterior["r"])
    assert "sample_stats" not in fit.to_arviz(20, data={"x": x + 1.0}, log_likelihood=True).groups()
    point = _fit(Rate(), build_guide(AutoDelta, Rate(), {"x": x}), x=x)
    assert "sample_stats" not in point.to_arviz(20).groups()
    mixture = GaussianMixture(2, 1)
    data = mixture.generate(10, seed=0)["x"]
    assert "sample_stats" not in _fit(mixture, x=data).to_arviz(20).groups()


def test_tables_have_no_rhat_of_independent_draws() -> None:
    model = BayesianLinearRegression(2)
    x = torch.randn(20, 2)
    y = model.generate(20, x=x, seed=0)["y"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = _fit(model, build_guide("normal", model, {"x": x, "y": y}), x=x, y=y).summary()
    assert list(table.index) == ["w[0]", "w[1]"] and {"mean", "sd"} <= set(table.columns)
    assert "r_hat" not in table.columns and not any("ess" in column for column in table.columns)
    chains = NUTS(steps=50, num_warmup=50, num_chains=2).fit(model, {"x": x, "y": y}, seed=0).summary(var_names=["w"])
    assert {"r_hat", "ess_bulk", "mean"} <= set(chains.columns)


def test_they_agree_with_the_evidence(hierarchy_fit: Fit) -> None:
    weights = _log_weights(hierarchy_fit.to_arviz(2_000))
    score = log_evidence(hierarchy_fit, num_particles=4_000)
    found = float(torch.logsumexp(weights, 0)) - np.log(2_000)
    scale = (weights - weights.max()).exp()
    error = float(scale.std() / scale.mean()) / 2_000**0.5
    assert abs(found - score.value) < 5 * (error + score.stderr) and error < 0.1


@pytest.fixture
def hierarchy_fit() -> Fit:
    """Global and local latents, drawn by their exact conditionals, a little too wide."""

    def model(x: Tensor) -> None:
        t = pyro.sample("t", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(t, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        t = pyro.sample("t", dist.Normal(x.sum() / 2.0 / (1.0 + len(x) / 2.0), 1.1 * (1.0 + len(x) / 2.0) ** -0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((t + x) / 2.0, 1.1 * 0.5**0.5))

    return _fit(model, guide, x=torch.randn(5))
