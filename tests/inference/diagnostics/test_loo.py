"""loo: against the closed forms of conjugate models, where `arviz.loo` on the same draws is wrong."""

from __future__ import annotations

import math
import warnings
from typing import Any

import arviz
import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from jensen.inference import NUTS, Fit, loo
from jensen.inference.diagnostics.loo import _elpd
from jensen.inference.diagnostics.weights.pareto import psis_k
from jensen.inference.diagnostics.weights.smoothed import smoothed_weights
from jensen.inference.errors import ModelError
from jensen.models import LatentVariableModel
from jensen.models.factors.linear_gaussian import LinearGaussian
from jensen.models.regression.linear_regression import BayesianLinearRegression

pytestmark = pytest.mark.usefixtures("float64")


def _fit(model: Any, guide: Any = None, **data: Tensor) -> Fit:
    return Fit("by hand", {}, model, guide, pd.DataFrame({"step": [0], "bound": [0.0]}), data=data)


class Regression(BayesianLinearRegression):
    """With a mean-field guide at its optimum, or another normal."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(len(loc))
        self.loc, self.spread = torch.nn.Parameter(loc), torch.nn.Parameter(scale)

    def guide(self, x: Tensor, y: Tensor) -> None:
        pyro.sample("w", dist.Normal(self.loc, self.spread).to_event(1))


def _regression(widen: float = 1.0, shift: float = 0.0) -> tuple[Fit, Tensor]:
    """A posterior with correlations, its best diagonal normal made wider and moved (in sds), and each datum's value."""
    x = torch.randn(25, 2) @ torch.tensor([[1.0, 0.25], [0.25, 1.0]])
    model = BayesianLinearRegression(2)
    y = model.generate(25, x=x, seed=0)["y"]
    posterior = model.exact_posterior({"x": x, "y": y})["w"]
    scale = posterior.precision_matrix.diagonal().rsqrt() * widen
    fit = _fit(Regression(posterior.mean + shift * scale, scale), x=x, y=y)
    exact = []
    for i in range(len(x)):
        others = torch.arange(len(x)) != i
        left = model.exact_posterior({"x": x[others], "y": y[others]})["w"]
        variance = 1.0 + x[i] @ left.covariance_matrix @ x[i]
        exact.append(dist.Normal(x[i] @ left.mean, variance.sqrt()).log_prob(y[i]))
    return fit, torch.stack(exact)


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)


def test_weights_correct_an_approximation() -> None:
    """Of a guide that is beside the posterior, and too wide: draws as they are give nats too little."""
    fit, exact = _regression(widen=1.4, shift=0.8)
    found = [loo(fit, seed=seed, num_particles=8_000) for seed in range(4)]
    mean, error = _mean_and_error([each["elpd_loo"] for each in found])
    assert abs(mean - float(exact.sum())) < 5 * error + 1e-3 and error < 0.03
    plain = arviz.loo(fit.to_arviz(8_000), pointwise=True)["elpd_loo"]
    assert abs(plain - float(exact.sum())) > 0.5
    effective = _effective(fit, exact)
    for each in found:
        assert np.abs(each["loo_i"].values - exact.numpy()).max() < 0.05
        assert each["n_data_points"] == 25 and each["n_samples"] == 8_000 and each["scale"] == "log"
        assert each["se"] == pytest.approx(math.sqrt(25.0 * float(exact.var(correction=0))), rel=0.05)
        assert each["p_loo"] == pytest.approx(effective, abs=0.1)
        assert not each["warning"] and (each["pareto_k"] < each["good_k"]).all()


def _effective(fit: Fit, exact: Tensor) -> float:
    """What the whole posterior gives the data, less what each left out is given."""
    x, y = fit.data["x"], fit.data["y"]
    posterior = BayesianLinearRegression(2).exact_posterior({"x": x, "y": y})["w"]
    variance = 1.0 + ((x @ posterior.covariance_matrix) * x).sum(-1)
    return float((dist.Normal(x @ posterior.mean, variance.sqrt()).log_prob(y) - exact).sum())


def test_a_narrow_mean_field_is_corrected_in_part_and_says_so() -> None:
    """Its draws do not reach the posterior's tails: less is wrong than without weights, and k-hat rises with it."""
    fit, exact = _regression(widen=0.8)
    found = loo(fit, num_particles=20_000)
    plain = arviz.loo(fit.to_arviz(20_000), pointwise=True)["elpd_loo"]
    assert abs(found["elpd_loo"] - float(exact.sum())) < 0.6 * abs(plain - float(exact.sum()))
    assert float(found["pareto_k"].max()) > 0.4
    far, _ = _regression(widen=0.3)
    worst = loo(far)
    assert worst["warning"] and "There has been a warning" in str(worst)


def test_the_draws_in_arviz_have_what_is_needed() -> None:
    """`log_p` and `log_q` beside the log likelihood give the same estimate, by the formula written out."""
    fit, exact = _regression()
    idata = fit.to_arviz(8_000)
    log_p, log_q = (torch.tensor(idata.sample_stats[name].values[0]) for name in ("log_p", "log_q"))
    likelihood = torch.tensor(idata.log_likelihood["y"].values[0])
    weights, k_hat = arviz.psislw((log_p - log_q - likelihood.T).numpy())
    each = torch.logsumexp(torch.tensor(weights).T + likelihood, 0)
    assert float(each.sum()) == pytest.approx(float(exact.sum()), abs=0.15)
    ours = _elpd(likelihood, log_p - log_q)
    np.testing.assert_allclose(ours["pareto_k"].values, k_hat, atol=1e-6)
    assert ours["elpd_loo"] == pytest.approx(float(each.sum()), abs=0.02)


def test_smoothing_is_arvizs_but_for_its_prior_of_k() -> None:
    ratios = torch.randn(500, 3) * torch.tensor([0.5, 1.0, 2.5])
    log_weights, k_hat = arviz.psislw(ratios.T.numpy().copy())
    np.testing.assert_allclose(smoothed_weights(ratios).T.numpy(), np.exp(log_weights), rtol=0.25)
    np.testing.assert_allclose(psis_k(ratios).numpy(), k_hat, atol=1e-8)
    for column in range(3):  # each set is its own
        torch.testing.assert_close(smoothed_weights(ratios)[:, column], smoothed_weights(ratios[:, column]))


def test_local_latents_are_summed_out(hierarchy: type[Any]) -> None:
    x = 1.5 * torch.randn(8)
    covariance = 2.0 * torch.eye(8) + torch.ones(8, 8)
    inverse = torch.linalg.inv(covariance)
    variance = 1.0 / inverse.diagonal()  # of x_n given the others
    exact = dist.Normal(x - (inverse @ x) * variance, variance.sqrt()).log_prob(x)
    fit = _fit(hierarchy(8, widen=1.2).set_exact(x), x=x)
    found = [loo(fit, seed=seed, num_particles=20_000, num_local_particles=10) for seed in range(4)]
    mean, error = _mean_and_error([each["elpd_loo"] for each in found])
    assert abs(mean - float(exact.sum())) < 5 * error + 1e-3 and error < 0.02
    assert not any(each["warning"] for each in found)
    pieces = loo(fit, num_particles=20_000, num_local_particles=10, max_bytes=100_000)
    assert pieces["elpd_loo"] == pytest.approx(mean, abs=20 * error)


class Joint(LatentVariableModel):
    """t ~ N(0, 1), z_n | t ~ N(t, 1), x_n ~ N(z_n, 1), and a guide that draws all of them together."""

    def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
        t = pyro.sample("t", dist.Normal(torch.tensor(0.0), 1.0))
        with pyro.plate("data", len(x)):  # type: ignore[arg-type]
            z = pyro.sample("z", dist.Normal(t, 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        size = len(x)
        prior = torch.ones(size + 1, size + 1) + torch.eye(size + 1)
        prior[0, 0] = 1.0
        gain = prior[:, 1:] @ torch.linalg.inv(prior[1:, 1:] + torch.eye(size))
        covariance = prior - gain @ prior[1:]
        both = pyro.sample("both", dist.MultivariateNormal(gain @ x, covariance), infer={"is_auxiliary": True})
        pyro.sample("t", dist.Delta(both[0]))
        with pyro.plate("data", size):
            pyro.sample("z", dist.Delta(both[1:]))


def test_latents_of_one_joint_draw() -> None:
    """Local latents that no datum draws by itself are weighed with the others: the exact posterior gives the answer."""
    x = torch.tensor([0.3, -1.0, 0.8])
    inverse = torch.linalg.inv(2.0 * torch.eye(3) + torch.ones(3, 3))
    variance = 1.0 / inverse.diagonal()
    exact = dist.Normal(x - (inverse @ x) * variance, variance.sqrt()).log_prob(x)
    found = [loo(_fit(Joint(), x=x), seed=seed, num_particles=8_000)["elpd_loo"] for seed in range(4)]
    mean, error = _mean_and_error(found)
    assert abs(mean - float(exact.sum())) < 5 * error + 2e-2 and error < 0.05


def test_stored_draws_go_to_arviz() -> None:
    fit, exact = _regression()
    model = BayesianLinearRegression(2)
    chains = NUTS(steps=1_000, num_warmup=200, num_chains=2).fit(model, fit.data, seed=0)
    found = loo(chains)
    assert found["n_samples"] == 2_000
    assert found["elpd_loo"] == pytest.approx(float(exact.sum()), abs=0.3)


def test_stored_draws_of_two_observed_sites() -> None:
    """A datum is all that is observed of it: two halves of its likelihood are the whole."""

    class Pairs(LatentVariableModel):
        def __init__(self, apart: bool) -> None:
            super().__init__()
            self.apart = apart

        def model(self, x: Tensor, y: Tensor) -> None:  # type: ignore[override]
            t = pyro.sample("t", dist.Normal(torch.tensor(0.0), 1.0))
            with pyro.plate("data", len(x)):
                if self.apart:
                    pyro.sample("x", dist.Normal(t, 1.0), obs=x)
                    pyro.sample("y", dist.Normal(t, 1.0), obs=y)
                else:
                    pyro.sample("xy", dist.Normal(t, 1.0).expand([2]).to_event(1), obs=torch.stack([x, y], -1))

    data = {"x": torch.randn(6), "y": torch.randn(6)}
    draws = {"t": torch.randn(400) * 0.28}
    history = pd.DataFrame({"step": [0], "bound": [0.0]})
    found = [loo(Fit("by hand", {}, Pairs(apart), None, history, data=data, draws=draws)) for apart in (True, False)]
    assert found[0]["n_data_points"] == found[1]["n_data_points"] == 6
    np.testing.assert_allclose(found[0]["loo_i"].values, found[1]["loo_i"].values, rtol=1e-10)


def test_arviz_compares_fits() -> None:
    fit, _ = _regression()
    wrong = _fit(Regression(torch.full((2,), 0.2), torch.full((2,), 0.2)), x=fit.data["x"] ** 2, y=fit.data["y"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about ArviZ
        table = arviz.compare({"right": loo(fit), "wrong": loo(wrong)})
    assert list(table.index) == ["right", "wrong"]
    assert "Pareto k diagnostic" in str(loo(fit))


def test_what_has_no_loo_is_refused() -> None:
    model = LinearGaussian(3, 1)
    with pytest.raises(ModelError, match=r"`loo` needs a global latent.*Use `log_evidence`"):
        loo(_fit(model, x=model.generate(5, seed=0)["x"]))

    class NoPlate(LatentVariableModel):
        def model(self, x: Tensor | None = None) -> Tensor:  # type: ignore[override]
            t = pyro.sample("t", dist.Normal(torch.tensor(0.0), 1.0))
            return pyro.sample("x", dist.Normal(t, 1.0).expand([4]).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            pyro.sample("t", dist.Normal(torch.tensor(0.0), 1.0))

    with pytest.raises(ModelError, match=r"observe the data inside of `pyro.plate"):
        loo(_fit(NoPlate(), x=torch.randn(4)))
