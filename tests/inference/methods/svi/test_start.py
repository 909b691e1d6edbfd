"""Default guides start at Pathfinder's normal: data as they come, against exact posteriors; and where they do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import SVI, ConfigurationError, Pathfinder, Trace_ELBO, load, log_evidence
from jensen.models import BayesianLogisticRegression

YEARS = np.arange(1990.0, 1997.0)
HEIGHTS = np.array([80.1, 83.0, 84.9, 88.2, 89.5, 93.1, 94.8])
NOISE = 2.0


def trend(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    """A line over years as they are: the intercept's and the slope's posterior correlation is -0.9999995."""
    a = pyro.sample("a", dist.Normal(0.0, 1e5))
    b = pyro.sample("b", dist.Normal(0.0, 100.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(a + b * x, NOISE), obs=y)


def _exact() -> tuple[np.ndarray, np.ndarray, float]:
    """Posterior mean and covariance of (a, b), and the log evidence."""
    design = np.stack([np.ones_like(YEARS), YEARS], -1)
    precision = design.T @ design / NOISE**2 + np.diag([1e-10, 1e-4])
    mean = np.linalg.solve(precision, design.T @ HEIGHTS / NOISE**2)
    marginal = NOISE**2 * np.eye(len(YEARS)) + design @ np.diag([1e10, 1e4]) @ design.T
    solved = HEIGHTS @ np.linalg.solve(marginal, HEIGHTS)
    evidence = -0.5 * (solved + np.linalg.slogdet(marginal)[1] + len(YEARS) * np.log(2 * np.pi))
    return mean, np.linalg.inv(precision), float(evidence)


@pytest.mark.parametrize("guide", ["multivariate_normal", "lowrank"])
def test_seven_rows_of_raw_years_with_no_option_set(guide: str) -> None:
    mean, covariance, evidence = _exact()
    options: dict[str, Any] = {} if guide == "multivariate_normal" else {"guide": guide, "steps": 2_000}
    fit = SVI(**{"guide": guide, "progress": False} | options).fit(trend, {"x": YEARS, "y": HEIGHTS})
    draws = fit.posterior(20_000)
    assert fit.info["start"]["kind"] == "pathfinder"
    sds = np.sqrt(np.diag(covariance))
    for name, at, sd in zip("ab", mean, sds, strict=True):
        assert float(draws[name].mean()) == pytest.approx(at, abs=0.3 * sd)
    if guide == "multivariate_normal":
        assert float(draws["b"].std()) == pytest.approx(sds[1], rel=0.2)
        assert fit.status == "converged", fit.info["convergence"]
        assert fit.info["start"]["bound"] == pytest.approx(evidence, abs=1e-3)  # the posterior is a normal


def test_the_bound_of_the_start_is_the_evidence_where_the_posterior_is_normal() -> None:
    _, _, evidence = _exact()
    fit = Pathfinder(progress=False).fit(trend, {"x": YEARS, "y": HEIGHTS})
    assert fit.history.bound.iloc[-1] == pytest.approx(evidence, abs=1e-3)
    assert fit.status == "converged" and fit.info["at_mode"]
    exact = Pathfinder(dtype=torch.float64, progress=False).fit(trend, {"x": YEARS, "y": HEIGHTS})
    assert log_evidence(exact).value == pytest.approx(evidence, abs=1e-3)


def test_raw_and_standardised_columns_give_the_same_predictions() -> None:
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = (x @ [1.0, -2.0, 0.5] + np.random.default_rng(1).normal(size=200) > 0).astype(float)
    raw = x * [1.0, 1e4, 1e-3] + [0.0, 5e4, 2e-3]
    wide = BayesianLogisticRegression(3, prior_scale=1e4)
    method = SVI(guide="multivariate_normal", steps=1_000, progress=False)
    fits = [method.fit(wide, {"x": data, "y": y}) for data in (x, raw)]
    chances = [fit.predict(num=500)["y"].double().mean(0) for fit in fits]
    assert float((chances[0] - chances[1]).abs().mean()) < 0.05


def local(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


@pytest.mark.parametrize(
    ("model", "options", "kind", "reason"),
    [
        (local, {}, "prior", "`z` is a latent of each datum"),
        (trend, {"start": "prior"}, "prior", None),
        (trend, {"guide": lambda model: pyro.infer.autoguide.AutoDelta(model)}, "the guide's own", None),
    ],
)
def test_what_starts_elsewhere_says_so(model: Any, options: dict[str, Any], kind: str, reason: str | None) -> None:
    data = {"x": YEARS, "y": HEIGHTS} if model is trend else {"x": YEARS - 1993}
    fit = SVI(steps=3, progress=False, **options).fit(model, data)
    assert fit.info["start"]["kind"] == kind
    assert fit.info["start"].get("reason") == reason


def test_a_density_that_cannot_be_followed_leaves_the_start_at_the_prior() -> None:
    def fussy(x: torch.Tensor) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        if x.dtype == torch.float64:
            raise RuntimeError("only in single precision")
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a, 1.0), obs=x)

    fit = SVI(steps=3, progress=False, dtype=torch.float32).fit(fussy, {"x": np.zeros(4)})
    assert fit.info["start"]["kind"] == "prior" and "only in single precision" in fit.info["start"]["reason"]


def test_a_posterior_without_end_leaves_the_start_at_the_prior() -> None:
    def endless(x: torch.Tensor) -> None:
        pyro.sample("b", dist.ImproperUniform(dist.constraints.positive, (), ()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    fit = SVI(steps=3, progress=False).fit(endless, {"x": np.zeros(4)})
    assert fit.info["start"]["kind"] == "prior"


def test_an_unknown_start_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"`start` must be one of .* or a Fit, got 'path'.*`pathfinder`"):
        SVI(start="path")


def test_a_fit_from_pathfinder_is_saved_and_read(tmp_path: Any) -> None:
    fit = SVI(Trace_ELBO(), steps=50, progress=False, guide="normal").fit(trend, {"x": YEARS, "y": HEIGHTS})
    fit.save(tmp_path)
    again = load(tmp_path, model=trend)
    for name, value in fit.posterior(10).items():
        torch.testing.assert_close(again.posterior(10)[name], value)


def test_neither_start_nor_pathfinder_leaves_parameters_in_the_global_store() -> None:
    def model(x: torch.Tensor) -> None:
        noise = pyro.param("noise", torch.tensor(1.0), constraint=dist.constraints.positive)
        a = pyro.sample("a", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a, noise), obs=x)

    SVI(steps=3, progress=False).fit(model, {"x": np.arange(5.0)})
    assert len(pyro.get_param_store()) == 0
    with pytest.raises(ConfigurationError, match="cannot serve this model"):  # Pyro's guide takes no `pyro.param`
        Pathfinder(steps=1, progress=False).fit(model, {"x": np.arange(5.0)})
    assert len(pyro.get_param_store()) == 0
