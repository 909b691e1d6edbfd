"""ArviZ's groups: every plate is a named dimension, and the log likelihood is of each datum, whatever its plate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from jensen.inference import Fit
from jensen.inference.guides import build_guide

NUM = 100


@pytest.fixture(autouse=True)
def _float64(float64: None) -> None:
    pass


def fitted(model: Any, rows: dict[str, Tensor], guide: Any = None) -> Fit:
    guide = build_guide("normal", model, rows) if guide is None else guide
    return Fit("by hand", {}, model, guide, pd.DataFrame({"step": [0], "bound": [0.0]}), data=rows)


def draws(idata: Any, name: str) -> Tensor:
    return torch.tensor(idata.posterior[name].values[0])


def normal(value: Tensor, loc: Tensor, scale: float = 1.0) -> np.ndarray[Any, Any]:
    return dist.Normal(loc, scale).log_prob(value).numpy()


def test_data_beside_another_plate() -> None:
    """The issue's shapes: 100 draws of a local latent for 3 groups and 80 data, groups at dimension -2."""

    def model(x: Tensor) -> None:
        groups = pyro.plate("groups", 3, dim=-2)
        with groups:
            m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        with groups, pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(m, 1.0))
            pyro.deterministic("double", 2 * z)
            pyro.sample("x", dist.Normal(z, 0.5), obs=x.T)

    x = torch.randn(80, 3)
    fit = fitted(model, {"x": x})
    idata = fit.to_arviz(num=NUM)
    for name in ("z", "double"):
        assert idata.posterior[name].dims == ("chain", "draw", "groups", "data")
        assert idata.posterior[name].shape == (1, NUM, 3, 80)
    assert idata.posterior["m"].dims == ("chain", "draw", "groups")
    assert not np.isnan(idata.posterior["z"]).any()
    likelihood = idata.log_likelihood["x"]
    assert likelihood.dims == ("chain", "draw", "data")
    np.testing.assert_allclose(likelihood[0], normal(x.T, draws(idata, "z"), 0.5).sum(1))
    assert idata.observed_data["x"].dims[0] == "data"
    assert idata.observed_data["x"].shape == (80, 3)
    assert fit.posterior(4, data=fit.data)["m"].shape == (4, 3, 1)  # as the program has it
    assert fit.predict(num=4)["x"].shape == (4, 3, 80)


def test_data_around_an_inner_plate_with_events() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-2), pyro.plate("words", 4, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.deterministic("first", z[..., 0])
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    x = torch.randn(5, 4)
    idata = fitted(model, {"x": x}).to_arviz(num=NUM)
    assert idata.posterior["z"].dims == ("chain", "draw", "data", "words", "z_dim_2")
    assert idata.posterior["first"].dims == ("chain", "draw", "data", "words")
    np.testing.assert_allclose(idata.log_likelihood["x"][0], normal(x, draws(idata, "z").sum(-1)).sum(-1))


@pytest.mark.parametrize("side", [5, 7])
def test_a_data_plate_of_another_name(side: int) -> None:
    """Also where another plate is as long as the data."""

    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("sides", side, dim=-2), pyro.plate("rows", len(x), dim=-1):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
            pyro.sample("x", dist.Normal(m + 2 * c, 1.0), obs=x.T)

    x = torch.randn(5, side)
    fit = fitted(model, {"x": x})
    idata = fit.to_arviz(num=NUM)
    assert idata.log_likelihood["x"].dims == ("chain", "draw", "rows")
    assert idata.posterior["c"].dims == ("chain", "draw", "sides", "rows")
    assert idata.observed_data["x"].dims[0] == "rows"
    m = draws(idata, "m")[:, None, None]
    mixed = np.logaddexp(np.log(0.7) + normal(x.T, m), np.log(0.3) + normal(x.T, m + 2))
    np.testing.assert_allclose(idata.log_likelihood["x"][0], mixed.sum(1))


def test_local_latents_in_a_plate_of_another_name() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5))

    fit = fitted(model, {"x": torch.randn(6)}, guide)
    idata = fit.to_arviz(num=NUM)
    assert idata.posterior["z"].dims == ("chain", "draw", "rows")
    np.testing.assert_allclose(idata.log_likelihood["x"][0], normal(fit.data["x"], draws(idata, "z")))  # type: ignore[index]
    assert fit.posterior(3)["z"].shape == (3, 6)


def test_without_a_data_plate_there_is_one_log_likelihood() -> None:
    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("x", dist.MultivariateNormal(m.expand(4), torch.eye(4)), obs=x)

    x = torch.randn(4)
    idata = fitted(model, {"x": x}).to_arviz(num=NUM)
    assert idata.log_likelihood["x"].dims == ("chain", "draw")
    np.testing.assert_allclose(idata.log_likelihood["x"][0], normal(x, draws(idata, "m")[:, None]).sum(1))


def test_a_global_summed_out_latent_conditions_the_log_likelihood() -> None:
    """Given its draws the data are independent, and their terms are of the same draws."""

    def model(x: Tensor) -> None:
        g = pyro.sample("g", dist.Bernoulli(torch.tensor(0.5)))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
            pyro.sample("x", dist.Normal(0.3 * g + 2 * c, 1.0), obs=x)

    x = torch.tensor([0.1, 1.5])
    idata = fitted(model, {"x": x}).to_arviz(num=NUM)
    g = draws(idata, "g")[:, None]
    assert 0 < float(g.mean()) < 1
    mixed = np.logaddexp(np.log(0.7) + normal(x, 0.3 * g), np.log(0.3) + normal(x, 0.3 * g + 2))
    np.testing.assert_allclose(idata.log_likelihood["x"][0], mixed)


def test_a_latent_beside_the_data_is_no_likelihood() -> None:
    """`w` and `x` depend on the same indicator: log p(x | w), without the density of `w`."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.3, 0.7])))
            w = pyro.sample("w", dist.Normal(torch.zeros(2)[c], Vindex(torch.tensor([0.5, 2.0]))[c]))
            pyro.sample("x", dist.Normal(w + 3.0 * c, 1.0), obs=x)

    x = torch.tensor([0.0, 3.0, 1.0])
    idata = fitted(model, {"x": x}).to_arviz(num=NUM)
    w = draws(idata, "w")
    prior = [np.log(0.3) + normal(w, torch.tensor(0.0), 0.5), np.log(0.7) + normal(w, torch.tensor(0.0), 2.0)]
    joint = np.logaddexp(prior[0] + normal(x, w), prior[1] + normal(x, w + 3))
    np.testing.assert_allclose(idata.log_likelihood["x"][0], joint - np.logaddexp(*prior))


def test_what_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        pyro.deterministic("square", m.square())
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
            pyro.deterministic("loc", m + c)
            pyro.sample("x", dist.Normal(m + c, 1.0), obs=x)

    fit = fitted(model, {"x": torch.randn(30)})
    assert set(fit.to_arviz(num=NUM).posterior.data_vars) == {"m", "c", "square", "loc"}
    monkeypatch.setattr("jensen.inference.fit.arviz._NUMBERS_KEPT", 29 * NUM)
    idata = fit.to_arviz(num=NUM)
    assert idata.groups() == ["posterior", "observed_data"]
    assert set(idata.posterior.data_vars) == {"m", "square"}
    assert fit.to_arviz(num=NUM, log_likelihood=True).log_likelihood["x"].shape == (1, NUM, 30)


def test_masks_factors_and_names_that_collide() -> None:
    seen = torch.tensor([1.0, 0.0, 1.0])

    def model(x: Tensor, data: Tensor, mask: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        pyro.factor("penalty", -m.square())
        with pyro.plate("m_rows", 2, dim=-2):
            pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.factor("own", -(data - m).abs())
            pyro.sample("x", dist.Normal(m, 1.0), obs=x, obs_mask=mask > 0)

    x = torch.randn(3)
    fit = fitted(model, {"x": x, "data": 2 * x, "mask": seen})
    idata = fit.to_arviz(num=NUM)
    m = draws(idata, "m")[:, None]
    assert set(idata.log_likelihood.data_vars) == {"x", "own"}
    assert idata.log_likelihood["x"].dims == ("chain", "draw", "data_plate")  # an argument has that name
    np.testing.assert_allclose(idata.log_likelihood["x"][0], normal(x, m) * seen.numpy())
    np.testing.assert_allclose(idata.log_likelihood["own"][0], -(2 * x - m).abs())
    assert "penalty" not in idata.posterior
    assert idata.posterior["w"].dims == ("chain", "draw", "m_rows")
    assert bool((draws(idata, "x")[:, [0, 2]] == x[[0, 2]]).all())
    assert idata.constant_data["data"].shape == (3,)


def test_chains_and_summed_out_latents_of_stored_draws() -> None:
    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.3)))
            pyro.deterministic("loc", m + 9 * c)
            pyro.sample("x", dist.Normal(m + 9 * c, 1.0), obs=x)

    stored = {"m": 0.1 * torch.randn(8)}
    table = pd.DataFrame({"step": [0]})
    x = torch.tensor([0.0, 9.0])
    fit = Fit("NUTS", {}, model, None, table, data={"x": x}, draws=stored, info={"chains": 2})
    idata = fit.to_arviz(num=8)
    assert idata.posterior["c"].shape == (2, 4, 2)
    np.testing.assert_array_equal(idata.posterior["c"], np.broadcast_to([0.0, 1.0], (2, 4, 2)))
    np.testing.assert_allclose(idata.posterior["loc"], idata.posterior["m"].values[..., None] + 9 * np.array([0, 1]))
    assert bool(((fit.predict(num=8)["x"] - x).abs() < 4).all())
