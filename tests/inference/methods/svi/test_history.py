"""What a fit tells while it runs and afterwards: rows, CSV and TensorBoard files, callbacks, a progress bar."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from jensen.inference import SVI, BetaELBO, ConfigurationError, Linear, Progress, Trace_ELBO, iwae_schedule

OPTIONS: dict[str, Any] = {"steps": 23, "lr": 0.05, "log_every": 5, "device": "cpu", "compile": "trace"}


def test_rows_come_every_interval_and_at_the_end(logistic: Any) -> None:
    fit = SVI(Trace_ELBO(), **OPTIONS).fit(*logistic)
    table = fit.history
    assert list(table.columns) == ["step", "bound", "bound_per_datum", "loss", "lr", "seconds"]
    assert list(table["step"]) == [5, 10, 15, 20, 23]
    np.testing.assert_allclose(table["bound_per_datum"], table["bound"] / 60)
    np.testing.assert_allclose(table["loss"], -table["bound"])
    assert (table["seconds"].diff().dropna() > 0).all()
    assert (table["lr"] == 0.05).all()


def test_a_row_is_the_mean_over_its_interval(logistic: Any) -> None:
    fine = SVI(Trace_ELBO(), **{**OPTIONS, "log_every": 1}).fit(*logistic).history
    coarse = SVI(Trace_ELBO(), **OPTIONS).fit(*logistic).history
    np.testing.assert_allclose(coarse["bound"].iloc[0], fine["bound"].iloc[:5].mean(), rtol=1e-12)
    np.testing.assert_allclose(coarse["bound"].iloc[-1], fine["bound"].iloc[20:].mean(), rtol=1e-12)


def test_schedules_have_columns_and_both_bounds_are_logged(vae: Any) -> None:
    svi = SVI(
        BetaELBO(Linear(0.0, 1.0, until=0.5)), lr_schedule=iwae_schedule, batch_size=25, **{**OPTIONS, "steps": 20}
    )
    table = svi.fit(*vae).history
    weights = [min((step - 1) / 19 / 0.5, 1.0) for step in table["step"]]
    np.testing.assert_allclose(table["weight"], weights)
    np.testing.assert_allclose(table["lr"], [0.05 * iwae_schedule((step - 1) / 19) for step in table["step"]])
    assert -table["loss"].iloc[0] > table["bound"].iloc[0], "with a small weight the objective lies above the bound"
    assert -table["loss"].iloc[-1] == pytest.approx(table["bound"].iloc[-1], rel=1e-12)


def test_a_csv_file_lies_beside_the_checkpoints_while_the_fit_runs(linear: Any, tmp_path: Path) -> None:
    seen = []

    def look(progress: Progress) -> None:
        if (tmp_path / "history.csv").exists():
            seen.append((progress.step, len(pandas.read_csv(tmp_path / "history.csv"))))

    svi = SVI(Trace_ELBO(), checkpoint_every=10, validate_every=10, **OPTIONS)
    fit = svi.fit(*linear, validation=linear[1], checkpoint=tmp_path, callbacks=[look])
    assert (10, 2) in seen and (20, 4) in seen
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "history.csv"), fit.history, check_exact=True)
    assert not list(tmp_path.glob(".*"))


def test_callbacks_see_the_present_parameters(linear: Any) -> None:
    seen: list[Progress] = []
    norms = []

    def look(progress: Progress) -> None:
        seen.append(progress)
        norms.append(progress.program.model_owner.weight.norm().item())

    fit = SVI(Trace_ELBO(), **OPTIONS).fit(*linear, callbacks=[look])
    assert [progress.step for progress in seen] == [5, 10, 15, 20, 23]
    assert {progress.steps for progress in seen} == {23}
    assert [progress.row["bound"] for progress in seen] == list(fit.history["bound"])
    assert len(set(norms)) == 5
    assert norms[-1] == fit.model.weight.norm().item()


def test_a_callback_stops_the_fit_and_every_callback_is_called(linear: Any, same: Callable[..., None]) -> None:
    calls: list[str] = []

    def stop(progress: Progress) -> bool:
        calls.append("stop")
        return progress.step >= 10

    def note(progress: Progress) -> object:
        calls.append("note")
        return np.True_  # only True itself stops

    fit = SVI(Trace_ELBO(), **OPTIONS).fit(*linear, callbacks=[stop, note])
    assert (fit.status, fit.info["steps"]) == ("stopped early", 10)
    assert calls == ["stop", "note"] * 2


def test_a_callback_that_is_no_function_is_refused(linear: Any) -> None:
    with pytest.raises(ConfigurationError, match="`callbacks` must be functions of a `Progress`, got 3"):
        SVI(Trace_ELBO(), **OPTIONS).fit(*linear, callbacks=[3])


def test_it_is_quiet_unless_a_progress_bar_is_asked_for(linear: Any, capfd: pytest.CaptureFixture[str]) -> None:
    SVI(Trace_ELBO(), **OPTIONS).fit(*linear)
    assert capfd.readouterr() == ("", "")
    SVI(Trace_ELBO(), progress=True, **OPTIONS).fit(*linear)
    out, err = capfd.readouterr()
    assert out == ""
    assert "SVI" in err


def test_tensorboard_files(linear: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    SVI(Trace_ELBO(), tensorboard=tmp_path / "board", **OPTIONS).fit(*linear)
    assert list((tmp_path / "board").glob("events.out.tfevents.*"))


def test_tensorboard_that_is_not_installed(linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigurationError, match=r"`tensorboard` needs the TensorBoard package.*jensen\[tensorboard\]"):
        SVI(Trace_ELBO(), tensorboard=tmp_path / "board", **OPTIONS).fit(*linear)


def test_info_says_how_it_ran(linear: Any) -> None:
    info = SVI(Trace_ELBO(), **OPTIONS).fit(*linear).info
    assert info["steps"] == 23
    assert info["compile"] == "trace"
    assert info["device"] == "cpu"
    assert info["dtype"] == "float64"
    assert info["steps_per_second"] > 0
    assert info["seconds"] >= info["seconds_steps"] > 0
    assert info["versions"]["torch"] == torch.__version__
