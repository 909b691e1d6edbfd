"""The validation bound: fixed draws, a standard error, and the best parameters after the warm-up (DESIGN 4.9)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jensen.inference import IWAE, SVI, ConfigurationError, Trace_ELBO, TraceMeanField_ELBO
from jensen.inference.early_stopping import EarlyStopping, bound_on

OPTIONS: dict[str, Any] = {
    "steps": 60,
    "lr": 0.05,
    "log_every": 5,
    "validate_every": 10,
    "device": "cpu",
    "compile": "trace",
}


def test_the_bound_and_its_error_are_in_the_history(linear: Any) -> None:
    model, data = linear
    fit = SVI(Trace_ELBO(), validation_draws=30, **OPTIONS).fit(model, data, validation={"x": data["x"][:20]})
    rows = fit.history.dropna(subset=["validation_bound"])
    assert list(rows["step"]) == [10, 20, 30, 40, 50, 60]
    assert (rows["validation_stderr"] > 0).all()
    exact = fit.model.log_evidence({"x": data["x"][:20]}).sum().item()
    last = rows.iloc[-1]
    assert last["validation_bound"] < exact + 4 * last["validation_stderr"]


def test_the_draws_are_the_same_every_time(linear: Any) -> None:
    model, data = linear
    fit = SVI(TraceMeanField_ELBO(), **OPTIONS).fit(model, data)
    rng = torch.get_rng_state()
    values = [bound_on(fit.program, TraceMeanField_ELBO(), data, seed=3, repeats=4) for _ in range(2)]
    assert values[0] == values[1]
    assert torch.equal(torch.get_rng_state(), rng)
    assert values[0] != bound_on(fit.program, TraceMeanField_ELBO(), data, seed=4, repeats=4)


def test_chunks_add_up_to_the_whole(linear: Any) -> None:
    model, data = linear
    fit = SVI(TraceMeanField_ELBO(), **OPTIONS).fit(model, data)
    fit.model.set_exact_guide()
    exact = fit.model.log_evidence(data).sum().item()
    for chunk in (7, 2048):  # at the exact posterior every draw of the bound is the evidence
        value, stderr = bound_on(fit.program, IWAE(3), data, seed=0, repeats=3, chunk=chunk)
        assert value == pytest.approx(exact, rel=1e-10)
        assert stderr < 1e-9


def test_it_stops_and_returns_the_best_parameters(vae: Any, same: Callable[..., None]) -> None:
    model, data = vae
    train, held_out = {"x": data["x"][:10]}, {"x": data["x"][10:]}  # so few that it soon overfits
    svi = SVI(TraceMeanField_ELBO(), **{**OPTIONS, "steps": 2000, "lr": 0.1, "patience": 3, "warm_up": 0.01})
    fit = svi.fit(model, train, validation=held_out)
    assert fit.status == "stopped early"
    rows = fit.history.dropna(subset=["validation_bound"])
    best = rows["validation_bound"].idxmax()
    assert list(rows.index).index(best) == len(rows) - 1 - 3
    value, stderr = bound_on(fit.program, TraceMeanField_ELBO(), held_out, seed=0, repeats=16)
    assert value == pytest.approx(rows.loc[best, "validation_bound"], rel=1e-12)
    assert stderr == pytest.approx(rows.loc[best, "validation_stderr"], rel=1e-9)


def test_the_best_parameters_are_returned_after_the_last_step_and_after_a_resume(
    vae: Any, tmp_path: Path, same: Callable[..., None]
) -> None:
    model, data = vae
    train, held_out = {"x": data["x"][:10]}, {"x": data["x"][10:]}
    svi = SVI(TraceMeanField_ELBO(), **{**OPTIONS, "steps": 120, "lr": 0.1, "patience": 1000, "checkpoint_every": 10})
    fit = svi.fit(model, train, validation=held_out)
    assert fit.status == "finished"
    best = fit.history["validation_bound"].max()
    assert best > fit.history["validation_bound"].iloc[-1]
    assert bound_on(fit.program, TraceMeanField_ELBO(), held_out, seed=0)[0] == pytest.approx(best, rel=1e-12)

    def interrupt(progress: Any) -> None:
        if progress.step == 90:
            raise KeyboardInterrupt

    svi.fit(model, train, validation=held_out, checkpoint=tmp_path, callbacks=[interrupt])
    same(svi.fit(model, train, validation=held_out, checkpoint=tmp_path), fit)
    same(svi.fit(model, train, validation=held_out, checkpoint=tmp_path), fit)


def test_intervals_that_do_not_divide_each_other_still_come_round(linear: Any) -> None:
    model, data = linear
    options = {**OPTIONS, "log_every": 10, "validate_every": 14}
    fit = SVI(Trace_ELBO(), **options).fit(model, data, validation=data)
    rows = fit.history.dropna(subset=["validation_bound"])
    assert list(rows["step"]) == [20, 30, 50, 60]  # the first rows at or after 14, 28, 42 and 56


def test_nothing_is_best_during_the_warm_up() -> None:
    stopping = EarlyStopping(patience=2, warm_up=50)
    assert not stopping.update(10, 5.0)
    assert not stopping.update(49, 4.0)
    assert stopping.best == -math.inf
    assert stopping.update(50, 1.0)
    assert not stopping.update(60, 0.5)
    assert not stopping.should_stop
    assert not stopping.update(70, math.nan)
    assert stopping.should_stop


def test_patience_needs_validation_data(linear: Any) -> None:
    with pytest.raises(ConfigurationError, match="`patience` watches the bound on validation data: pass `validation"):
        SVI(Trace_ELBO(), patience=3, **OPTIONS).fit(*linear)
