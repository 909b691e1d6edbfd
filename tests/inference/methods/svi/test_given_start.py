"""Starts that the caller gives: values by latent, another fit, Laplace's normal; and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import EM, SVI, CheckpointError, ConfigurationError, Laplace, Pathfinder, Progress
from jensen.models import GaussianMixture
from jensen.studies.arms.fingerprint import fingerprint

X = np.random.default_rng(0).normal(size=(60, 2)) * [1.0, 300.0]
Y = X @ [3.0, -0.01] + np.random.default_rng(1).normal(size=60)
DATA = {"x": X, "y": Y}
W = [3.0, -0.01]


def regression(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 10.0).to_event(1))
    s = pyro.sample("s", dist.HalfCauchy(5.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(x @ w, s), obs=y)


def again(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    """The same posterior, with the latents in another order."""
    s = pyro.sample("s", dist.HalfCauchy(5.0))
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 10.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(x @ w, s), obs=y)


def local(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def one_step(**options: Any) -> Any:
    return SVI(**{"steps": 1, "lr": 1e-9, "progress": False} | options)


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal", "lowrank", "flow"])
def test_values_are_where_it_starts_with_the_scales_of_the_posterior(guide: str, float64: None) -> None:
    fit = one_step(guide=guide, start={"w": W, "s": 2.0}).fit(regression, DATA)
    assert fit.info["start"] == {"kind": "values", "latents": ["w", "s"], "scales": "of the path from there"}
    if guide != "flow":  # which bends a little from the first step on
        found = fit.guide.median()
        np.testing.assert_allclose(found["w"].detach(), W, rtol=1e-6)
        assert float(found["s"]) == pytest.approx(2.0)
    sds = fit.posterior(4_000)["w"].std(0)
    residual = Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    np.testing.assert_allclose(sds, residual.std() / np.sqrt((X**2).sum(0)), rtol=0.2)


def test_latents_that_are_left_out_start_at_the_prior(float64: None) -> None:
    fit = one_step(guide="normal", start={"w": 0.5}).fit(regression, DATA)
    assert fit.info["start"]["at_prior"] == ["s"]
    assert fit.guide.median()["w"].detach().tolist() == pytest.approx([0.5, 0.5])
    assert float(fit.guide.median()["s"]) == pytest.approx(5.0)  # the prior's median


def test_a_start_some_way_off_ends_where_others_do() -> None:
    start = {"w": [2.0, -0.008], "s": 2.0}  # eight and four sds away
    fit = SVI(guide="multivariate_normal", steps=3_000, progress=False, start=start).fit(regression, DATA)
    exact = np.linalg.lstsq(X, Y, rcond=None)[0]
    draws = fit.posterior(4_000)["w"].double().numpy()
    assert (np.abs(draws.mean(0) - exact) < 0.3 * draws.std(0)).all()
    assert "posterior sds" in fit.info["convergence"]["reason"]


def test_values_of_latents_of_each_datum() -> None:
    x = np.linspace(-2.0, 2.0, 7)
    fit = one_step(start={"z": x / 2}).fit(local, {"x": x})
    np.testing.assert_allclose(fit.guide.median()["z"].detach(), x / 2, atol=1e-6)
    assert fit.info["start"]["reason"] == "`z` is a latent of each datum"
    once_more = one_step(start=fit).fit(local, {"x": x})
    np.testing.assert_allclose(once_more.guide.median()["z"].detach(), x / 2, atol=1e-6)


@pytest.mark.parametrize("method", ["SVI", "Laplace", "Pathfinder"])
@pytest.mark.parametrize("model", [regression, again])
def test_a_fit_is_where_another_starts(method: str, model: Any, float64: None) -> None:
    first = {
        "SVI": SVI(guide="multivariate_normal", steps=300, progress=False),
        "Laplace": Laplace(steps=1, progress=False),
        "Pathfinder": Pathfinder(steps=1, progress=False),
    }[method].fit(regression, DATA)
    fit = one_step(guide="multivariate_normal", start=first).fit(model, DATA)
    assert fit.info["start"] == {"kind": "fit", "latents": ["w", "s"], "scales": "of the fit"}
    one, other = first.guide.get_posterior(), fit.guide.get_posterior()
    order = [0, 1, 2] if model is regression else [2, 0, 1]
    torch.testing.assert_close(other.loc, one.loc[order], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(other.covariance_matrix, one.covariance_matrix[order][:, order], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("guide", ["normal", "flow", "iaf"])
def test_a_fit_with_any_guide_will_do(guide: str) -> None:
    first = SVI(guide=guide, steps=50, compile=False, progress=False).fit(regression, DATA)
    fit = one_step(guide="multivariate_normal", start=first).fit(regression, DATA)
    one, other = (f.posterior(4_000)["w"] for f in (first, fit))
    assert bool(((one.mean(0) - other.mean(0)).abs() < 0.15 * one.std(0)).all())
    np.testing.assert_allclose(other.std(0), one.std(0), rtol=0.2)


def test_laplace_is_a_start(float64: None) -> None:
    mode = Laplace(steps=1, progress=False).fit(regression, DATA)
    fit = one_step(guide="multivariate_normal", start="laplace").fit(regression, DATA)
    assert fit.info["start"]["kind"] == "laplace" and fit.info["start"]["newton_distance"] < 1e-6
    torch.testing.assert_close(fit.guide.get_posterior().loc, mode.guide.get_posterior().loc, rtol=1e-6, atol=1e-6)


def test_laplace_without_a_mode_starts_at_the_prior_and_says_why() -> None:
    def model(x: torch.Tensor) -> None:
        a, s = pyro.sample("a", dist.Normal(0.0, 10.0)), pyro.sample("s", dist.HalfNormal(5.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(a, s), obs=x)

    start = one_step(start="laplace").fit(model, {"x": [3.0]}).info["start"]
    assert start["kind"] == "prior" and "rises along `s`" in start["reason"]


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({}, "`start` is an empty dict"),
        ({"w": float("nan")}, "`start` of `w` must be finite"),
        ({"w": "far"}, "`start` of `w` must be numbers, got 'far'"),
        ({3: 1.0}, "names of latents as keys, got 3"),
        (7, "must be one of .*, a dict of values by latent, or a Fit, got 7"),
    ],
)
def test_what_is_no_start_is_refused_at_once(start: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SVI(start=start)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"ww": 1.0}, r"`start` has the name `ww`, which the model lacks. Did you mean `w`\?"),
        ({"w": [1.0, 2.0, 3.0]}, r"`start` of `w` must have shape \(2,\), got \(3,\)"),
        ({"s": -1.0}, r"`start` of `s` must be in its support, .*, got \[-1.0\]"),
        ({"s": 0.0}, r"`start` of `s` (must be in its support|is at the edge of its support)"),
    ],
)
def test_values_that_do_not_go_with_the_model_are_refused(start: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        one_step(start=start).fit(regression, DATA)


def test_fits_of_other_latents_are_refused() -> None:
    def more(x: torch.Tensor, y: torch.Tensor) -> None:
        pyro.sample("extra", dist.Normal(0.0, 1.0))
        regression(x, y)

    def bounded(x: torch.Tensor, y: torch.Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 10.0).to_event(1))
        s = pyro.sample("s", dist.Uniform(0.0, 50.0))
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(x @ w, s), obs=y)

    fit = one_step().fit(regression, DATA)
    with pytest.raises(ConfigurationError, match="a fit without the latent `extra` of the model"):
        one_step(start=fit).fit(more, DATA)
    with pytest.raises(ConfigurationError, match="latent `extra`, which the model lacks"):
        one_step(start=one_step().fit(more, DATA)).fit(regression, DATA)
    with pytest.raises(ConfigurationError, match="latent `s` has another support"):
        one_step(start=fit).fit(bounded, DATA)
    points = EM(steps=2, progress=False).fit(GaussianMixture(2, 2), {"x": X})
    with pytest.raises(ConfigurationError, match="a fit without continuous latents"):
        one_step(start=points)


def test_guides_of_your_own_take_no_values() -> None:
    guide = lambda model: pyro.infer.autoguide.AutoDelta(model)  # noqa: E731
    with pytest.raises(ConfigurationError, match=r"only default guides can start at .*Give your own guide its start"):
        one_step(guide=guide, start={"w": W}).fit(regression, DATA)


def test_the_start_is_part_of_the_identity(tmp_path: Path) -> None:
    first = one_step().fit(regression, DATA)
    starts: list[Any] = ["pathfinder", "prior", "laplace", {"w": W}, {"w": [3.0, 0.0]}, first]
    methods = [one_step(start=start) for start in starts]
    assert len({str(method.configuration()) for method in methods}) == len(methods)
    assert len({fingerprint(method) for method in methods}) == len(methods)
    assert one_step(start={"w": torch.tensor(W, dtype=torch.float64)}) == methods[3]
    assert fingerprint(one_step(start={"w": np.array(W)})) == fingerprint(methods[3])
    assert dataclasses.replace(methods[5], steps=2).configuration()["start"] == methods[5].configuration()["start"]
    assert "start" not in methods[1].configuration() and methods[0].configuration()["start"] == "pathfinder"
    methods[3].fit(regression, DATA, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="start"):
        methods[4].fit(regression, DATA, checkpoint=tmp_path)


def test_a_killed_fit_with_given_values_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step >= 200:
            raise RuntimeError("killed")

    method = SVI(start={"w": W}, steps=400, checkpoint_every=100, progress=False)
    whole = method.fit(regression, DATA)
    with pytest.raises(RuntimeError, match="killed"):
        method.fit(regression, DATA, checkpoint=tmp_path, callbacks=[stop])
    on = method.fit(regression, DATA, checkpoint=tmp_path)
    assert all(map(torch.equal, on.guide.parameters(), whole.guide.parameters()))
    on.save(tmp_path / "fit")
