"""Draws know the rows they belong to: data-reading guides, other rows than the fit's, masks, computed values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from jensen.inference import NUTS, SVI, Fit, ModelError, load
from jensen.inference.errors import DataError
from jensen.inference.guides import build_guide
from jensen.models import LatentVariableModel

NUM = 4_000


@pytest.fixture(autouse=True)
def _float64(float64: None) -> None:
    pass


def fitted(model: Any, rows: dict[str, Tensor], guide: Any = None, **options: Any) -> Fit:
    guide = build_guide("normal", model, rows) if guide is None else guide
    options = {"data": rows} | options
    return Fit("by hand", {}, model, guide, pd.DataFrame({"step": [0], "bound": [0.0]}), **options)


def mean_close(draws: Tensor, mean: Any, deviation: float) -> bool:
    return bool(((draws.mean(0) - torch.as_tensor(mean)).abs() < 5 * deviation / len(draws) ** 0.5).all())


# A guide of a global latent that reads the data.

Y = torch.tensor([0.1, 2.0, 3.0, 4.0], dtype=torch.float64)


def location(y: Tensor | None = None, size: int = 1) -> None:
    m = pyro.sample("m", dist.Normal(torch.zeros(()), 10.0))
    pyro.deterministic("twice", 2 * m)
    pyro.deterministic("total", m + (y.sum() if y is not None else 0.0))
    with pyro.plate("data", size if y is None else len(y)):
        y = pyro.sample("y", dist.Normal(m, 1.0), obs=y)
        pyro.deterministic("residual", y - m)


def reading(y: Tensor) -> None:
    pyro.sample("m", dist.Normal(y.mean(), 0.05))


def test_a_guide_that_reads_the_data_is_run_on_all_of_them() -> None:
    fit = fitted(location, {"y": Y}, reading)
    right = float(Y.mean())
    for draws in (fit.posterior(NUM), fit.posterior(NUM, data={"y": Y}), fit.posterior(NUM, data={"y": 5 + Y[:2]})):
        assert mean_close(draws["m"], right, 0.05)
    for options in ({"log_likelihood": False}, {"log_likelihood": True}, {"data": {"y": 5 + Y[:2]}}):
        idata = fit.to_arviz(num=NUM, **options)  # type: ignore[arg-type]
        assert mean_close(torch.tensor(idata.posterior["m"].values[0]), right, 0.05)
    assert mean_close(fit.predict({"y": 5 + Y[:1]}, num=NUM)["y"], right, 1.01)  # new rows: the fit's own location


def test_a_streamed_fit_says_that_its_guide_needs_the_data() -> None:
    fit = fitted(location, {"y": Y}, reading, data=None, prototype={"y": Y[:1]}, data_size=4)
    with pytest.raises(DataError, match="`m` is drawn given all the training data, which this fit does not hold"):
        fit.posterior(3)
    assert mean_close(fit.posterior(NUM, data={"y": Y})["m"], Y.mean(), 0.05)


def test_a_guide_whose_scale_counts_the_rows() -> None:
    def counting(y: Tensor) -> None:
        pyro.sample("m", dist.Normal(torch.tensor(1.0), 1.0 / len(y) ** 0.5))

    draws = fitted(location, {"y": Y}, counting).posterior(NUM)["m"]
    torch.testing.assert_close(draws.std(), torch.tensor(0.5), rtol=5 / (2 * NUM) ** 0.5, atol=0.0)


def test_a_guide_that_draws_the_global_latent_after_local_ones() -> None:
    def model(y: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 10.0))
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(m, 1.0))
            pyro.sample("y", dist.Normal(z, 0.1), obs=y)

    def guide(y: Tensor) -> None:
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(y, 0.1))
        pyro.sample("m", dist.Normal(z.mean(), 0.1))

    draws = fitted(model, {"y": Y}, guide).posterior(NUM)
    assert list(draws) == ["m"]
    assert mean_close(draws["m"], Y.mean(), 0.12)


# Local latents belong to their rows.


def effects(x: Tensor, y: Tensor | None = None) -> None:
    m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(m + x, 2.0))
        pyro.deterministic("double", 2 * z)
        pyro.sample("y", dist.Normal(z, 0.1), obs=y)


def test_other_rows_have_no_factor_of_the_training_rows() -> None:
    x, y = torch.zeros(5), torch.linspace(-9, 9, 5)
    fit = fitted(effects, {"x": x, "y": y})
    for parameter in fit.guide.parameters():  # type: ignore[union-attr]
        parameter.data.add_(0.01 * torch.randn_like(parameter))
    fit.guide.loc_z.data.copy_(y)  # type: ignore[union-attr]
    fit.guide.log_scale_z.data.fill_(-2.0)  # type: ignore[union-attr]
    assert mean_close(fit.predict(num=NUM)["y"], y, 0.3)
    assert mean_close(fit.predict({"x": x, "y": y}, num=NUM)["y"], y, 0.3)
    m = float(fit.guide.loc_m.detach())  # type: ignore[union-attr]
    for rows in (5, 3):  # new rows, also as many as there were: the prior given the global latent
        new = torch.arange(float(rows))
        drawn = fit.predict({"x": new}, num=NUM)
        assert mean_close(drawn["y"], m + new, 2.1)
        torch.testing.assert_close(drawn["double"].std(0), torch.full((rows,), 4.0), rtol=0.1, atol=0.0)
    for rows in (5, 3):
        for ask in (fit.posterior, fit.predict):
            with pytest.raises((DataError, ModelError), match=r"`z` .*one factor for each of the 5 .*data"):
                ask(data={"x": x[:rows], "y": 1 + y[:rows]}, num=3)


def test_stored_draws_of_local_latents_belong_to_the_training_rows() -> None:
    x, y = torch.zeros(3), torch.tensor([-5.0, 0.0, 5.0])
    draws = {"m": torch.full((8,), 4.0), "z": y.repeat(8, 1)}
    fit = Fit("NUTS", {}, effects, None, pd.DataFrame({"step": [0]}), data={"x": x, "y": y}, draws=draws)
    assert bool(((fit.predict(num=8)["y"] - y).abs() < 1).all())
    assert torch.equal(fit.posterior(8, data=fit.data)["double"], 2 * draws["z"])
    new = fit.predict({"x": torch.zeros(500)}, num=8)["y"]
    assert abs(float(new.mean()) - 4.0) < 5 * 2.1 / 4_000**0.5
    with pytest.raises(DataError, match="its posterior of `z` has one factor for each of the 3 training data"):
        fit.posterior(8, data={"x": x, "y": y + 1})


def test_weights_of_the_rows_do_not_make_other_rows() -> None:
    class Weighted(LatentVariableModel):
        row_weight = "weight"

        def model(self, y: Tensor, weight: Tensor | None = None) -> None:  # type: ignore[override]
            with pyro.plate("data", len(y)):
                z = pyro.sample("z", dist.Normal(torch.zeros(len(y)), 1.0))
                pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    fit = fitted(Weighted(), {"y": Y, "weight": torch.ones(4)})
    assert fit.posterior(3, data={"y": Y})["z"].shape == (3, 4)
    with pytest.raises((DataError, ModelError), match="one factor for each of the 4"):
        fit.posterior(3, data={"y": Y + 1})


# Sites with an `obs_mask`.

SEEN = torch.tensor([True, False, True, False])


def masked(x: Tensor, y: Tensor | None = None, seen: Tensor | None = None) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        mask = None if seen is None or y is None else seen > 0
        pyro.sample("y", dist.Normal(w + x, 0.5), obs=y, obs_mask=mask)


def test_predict_fills_what_a_mask_hides() -> None:
    x, y = torch.arange(4.0), torch.tensor([10.0, float("nan"), 12.0, float("nan")]).nan_to_num(99.0)
    fit = fitted(masked, {"x": x, "y": y, "seen": SEEN.double()})
    w = float(fit.guide.loc_w.detach())  # type: ignore[union-attr]
    deviation = (0.5**2 + 0.1**2) ** 0.5
    drawn = fit.predict(num=NUM)
    assert list(drawn) == ["y"]
    assert torch.equal(drawn["y"][:, SEEN], y[SEEN].expand(NUM, 2))
    assert mean_close(drawn["y"][:, ~SEEN], w + x[~SEEN], deviation)
    few = fit.predict({"x": x[:3], "y": y[:3], "seen": SEEN[:3].double()}, num=NUM)["y"]
    assert torch.equal(few[:, [0, 2]], y[[0, 2]].expand(NUM, 2))
    assert mean_close(few[:, 1], w + 1.0, deviation)
    fresh = fit.predict({"x": torch.zeros(7)}, num=NUM)["y"]
    assert fresh.shape == (NUM, 7)
    assert mean_close(fresh, w, deviation)


def test_a_mask_over_two_plates() -> None:
    """Series by time: the data at dimension -2, and values missing here and there."""
    seen = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])

    def model(x: Tensor, seen: Tensor | None = None) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 0.1))
        with pyro.plate("data", len(x), dim=-2), pyro.plate("time", x.shape[1], dim=-1):
            both = pyro.sample("x", dist.Normal(m, 1.0).expand([2]).to_event(1), obs=x, obs_mask=seen > 0)
            pyro.deterministic("size", both.square().sum(-1))

    x = torch.randn(2, 3, 2)
    fit = fitted(model, {"x": x, "seen": seen})
    for rows in (2, 1):
        drawn = fit.predict({"x": x[:rows], "seen": seen[:rows]}, num=NUM)
        kept = seen[:rows] > 0
        assert torch.equal(drawn["x"][:, kept], x[:rows][kept].expand(NUM, -1, -1))
        assert mean_close(drawn["x"][:, ~kept], 0.0, 1.1)
        torch.testing.assert_close(drawn["size"], drawn["x"].square().sum(-1))


def test_a_missing_input_has_its_posterior() -> None:
    """What is missing has children here: the guide's factor is the answer, not the model's own draw."""

    def model(y: Tensor, x: Tensor | None = None, seen: Tensor | None = None) -> None:
        with pyro.plate("data", len(y)):
            x = pyro.sample("x", dist.Normal(torch.zeros(len(y)), 1.0), obs=x, obs_mask=seen > 0)
            pyro.sample("y", dist.Normal(x, 0.1), obs=y)

    y, x = torch.tensor([3.0, -2.0]), torch.tensor([3.1, 0.0])
    data = {"y": y, "x": x, "seen": torch.tensor([1.0, 0.0])}
    fit = fitted(model, data)
    fit.guide.loc_x_unobserved.data.copy_(torch.tensor([0.0, -2.0]))  # type: ignore[union-attr]
    fit.guide.log_scale_x_unobserved.data.fill_(-3.0)  # type: ignore[union-attr]
    drawn = fit.predict(num=NUM)
    assert sorted(drawn) == ["x", "y"]
    assert torch.equal(drawn["x"][:, 0], x[:1].expand(NUM))
    assert mean_close(drawn["x"][:, 1], -2.0, 0.05)
    assert mean_close(drawn["y"], torch.tensor([3.1, -2.0]), 0.2)


def test_a_label_that_is_known_for_some() -> None:
    from jensen.inference import marginals

    def model(x: Tensor, label: Tensor | None = None, seen: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            weights = torch.tensor([0.5, 0.5])
            label = pyro.sample("label", dist.Categorical(weights), obs=label, obs_mask=seen > 0)
            pyro.sample("x", dist.Normal(2.0 * label, 1.0), obs=x)

    x = torch.tensor([0.5, 0.5, 3.0])
    fit = fitted(model, {"x": x, "label": torch.tensor([1.0, 0.0, 0.0]), "seen": torch.tensor([1.0, 0.0, 0.0])})
    exact = torch.tensor([1.0, *(2 * x[1:] - 2).sigmoid()])
    torch.testing.assert_close(marginals(fit)["label"].mean, exact)
    drawn = fit.predict(num=NUM)
    assert mean_close(drawn["label"].double(), exact, 0.5)
    assert mean_close(drawn["x"], 2 * exact, 2.0)


# Computed values and factors.


def test_computed_values_come_with_the_draws() -> None:
    fit = fitted(location, {"y": Y}, reading)
    draws = fit.posterior(5)
    assert list(draws) == ["m", "twice"]  # `total` is of the data, and comes with them
    assert torch.equal(draws["twice"], 2 * draws["m"])
    both = fit.posterior(5, data=fit.data)
    assert torch.equal(both["total"], both["m"] + Y.sum())
    assert torch.equal(both["residual"], Y - both["m"][:, None])  # of what was observed
    predicted = fit.predict(num=5)
    assert list(predicted) == ["y", "twice", "total", "residual"]
    torch.testing.assert_close(predicted["residual"], predicted["y"] - predicted["twice"][:, None] / 2)
    assert predicted["y"].shape == (5, 4)
    amortised = fitted(effects, {"x": torch.zeros(3), "y": torch.zeros(3)})
    local = amortised.posterior(5, data=amortised.data)
    assert torch.equal(local["double"], 2 * local["z"])


def test_a_factor_is_no_draw() -> None:
    def model(y: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        pyro.factor("penalty", -m.square())
        with pyro.plate("data", len(y)):
            pyro.factor("weight", -(y - m).abs())
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)

    fit = fitted(model, {"y": Y})
    assert list(fit.predict(num=3)) == ["y"]
    assert list(fit.posterior(3, data=fit.data)) == ["m"]


def test_networks_of_the_guide_and_a_global_latent(seeded: None) -> None:
    """A local latent by a network, given global draws that read all data."""

    class Encoder(nn.Module):
        def forward(self, y: Tensor) -> None:
            m = pyro.sample("m", dist.Normal(y.mean(), 0.01))
            with pyro.plate("data", len(y)):
                pyro.sample("z", dist.Normal(y - m, 0.01))

    def model(y: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 10.0))
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("y", dist.Normal(m + z, 1.0), obs=y)

    fit = fitted(model, {"y": Y}, Encoder())
    other = fit.posterior(NUM, data={"y": Y[:2] + 1})
    assert mean_close(other["m"], Y.mean(), 0.01)
    assert mean_close(other["z"], Y[:2] + 1 - Y.mean(), 0.02)


# Latents in a plate of the data's rows that has a name of its own.


def schools(y: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 5.0))
    with pyro.plate("schools", len(y)):
        effect = pyro.sample("effect", dist.Normal(mean, 1.0))
        pyro.sample("y", dist.Normal(effect, 1.0), obs=y)


@pytest.mark.parametrize("stored", [False, True])
def test_latents_of_a_plate_of_another_name_are_drawn_without_naming_the_data(stored: bool) -> None:
    draws = {"mean": torch.randn(9), "effect": torch.randn(9, 4)}
    fit = fitted(schools, {"y": Y}, **({"guide": None, "draws": draws} if stored else {}))
    drawn, again = fit.posterior(9), fit.posterior(9, data={"y": Y})
    assert drawn["effect"].shape == (9, 4) and drawn["mean"].shape == (9,)
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)
    assert not stored or torch.equal(drawn["effect"], draws["effect"])


@pytest.mark.parametrize("chains", [False, True])
def test_a_series_that_looks_at_the_step_before_is_drawn_from_and_read_back(tmp_path: Path, chains: bool) -> None:
    def series(y: torch.Tensor) -> None:
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        s = pyro.sample("s", dist.HalfNormal(1.0))
        with pyro.plate("steps", len(y) - 1):  # one step alone has none before it
            pyro.sample("y", dist.Normal(a * y[:-1], s), obs=y[1:])

    data = {"y": torch.randn(20, generator=torch.Generator().manual_seed(0))}
    nuts = NUTS(steps=20, num_warmup=20, num_chains=2, compile=False, progress=False, device="cpu")
    method = nuts if chains else SVI(guide="normal", steps=20, progress=False, device="cpu")
    fit = method.fit(series, data)
    draws = fit.posterior(30)
    assert draws["a"].shape == (30,) and len(draws["s"].unique()) > 10
    assert fit.to_arviz(10)["posterior"]["a"].shape[-1] == 10
    fit.save(tmp_path / "fit")
    again = load(tmp_path / "fit", model=series)
    assert torch.equal(again.posterior(30)["a"], draws["a"])
