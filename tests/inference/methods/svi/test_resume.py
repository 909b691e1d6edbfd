"""Checkpoints: a run goes on from its own state, returns a finished one at once, and refuses another's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from jensen.inference import SVI, CheckpointError, Trace_ELBO, TraceMeanField_ELBO

OPTIONS: dict[str, Any] = {"steps": 40, "lr": 0.05, "log_every": 5, "device": "cpu", "compile": "trace"}


def svi(**more: Any) -> SVI:
    return SVI(more.pop("objective", Trace_ELBO()), **{**OPTIONS, **more})


def interrupt_at(step: int) -> Callable[[Any], None]:
    def callback(progress: Any) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize("mode", [False, "trace"])
def test_interrupted_and_resumed_is_never_interrupted(
    logistic: Any, tmp_path: Path, mode: Any, same: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    method = svi(compile=mode, average=0.9)
    part = method.fit(*logistic, checkpoint=tmp_path, callbacks=[interrupt_at(15)])
    assert part.status == "interrupted"
    assert list(part.history["step"]) == [5, 10, 15]
    said = capsys.readouterr().out
    assert "Interrupted at step 15 of 40: the fit so far is returned" in said
    assert str(tmp_path) in said
    assert part.posterior(3)["w"].shape == (3, 4)
    whole = method.fit(*logistic)
    same(method.fit(*logistic, checkpoint=tmp_path), whole)


def test_an_interrupt_without_a_checkpoint_returns_the_fit_so_far(
    logistic: Any, capsys: pytest.CaptureFixture[str], same: Callable[..., None]
) -> None:
    part = svi().fit(*logistic, callbacks=[interrupt_at(10)])
    assert part.status == "interrupted"
    assert part.info["steps"] == 10
    assert "saved" not in capsys.readouterr().out
    stopped = svi().fit(*logistic, callbacks=[lambda progress: progress.step == 10])
    same(part, stopped)


def test_an_interrupt_before_the_first_row_still_returns_a_fit(
    logistic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: Callable[..., None]
) -> None:
    from jensen.inference.step.engine import Engine

    def press(self: Engine) -> torch.Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "first_step", press)
        part = svi().fit(*logistic, checkpoint=tmp_path)
    assert (part.status, part.info["steps"], len(part.history)) == ("interrupted", 0, 0)
    assert "interrupted" in repr(part)
    assert part.posterior(2)["w"].shape == (2, 4)
    same(svi().fit(*logistic, checkpoint=tmp_path), svi().fit(*logistic))


def test_a_real_ctrl_c_between_two_rows_loses_nothing(
    logistic: Any, tmp_path: Path, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jensen.inference.step.engine import Engine

    run = Engine.run

    def run_and_press(self: Engine, step: int, count: int) -> torch.Tensor:
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)
        return run(self, step, count)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", run_and_press)
        part = svi().fit(*logistic, checkpoint=tmp_path)
    assert part.status == "interrupted"
    assert part.info["steps"] == 18
    assert list(part.history["step"]) == [5, 10, 15, 18]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    same(svi().fit(*logistic, checkpoint=tmp_path), svi().fit(*logistic))


def test_a_second_ctrl_c_goes_back_to_the_last_row(
    logistic: Any, tmp_path: Path, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jensen.inference.step.engine import Engine

    run = Engine.run

    def run_and_press_twice(self: Engine, step: int, count: int) -> torch.Tensor:
        out = run(self, step, count)
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return out

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", run_and_press_twice)
        part = svi().fit(*logistic, checkpoint=tmp_path)
    assert (part.status, part.info["steps"]) == ("interrupted", 15)
    same(svi().fit(*logistic, checkpoint=tmp_path), svi().fit(*logistic))


def test_a_finished_run_is_returned_at_once(
    vae: Any, tmp_path: Path, same: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = svi(objective=TraceMeanField_ELBO(), batch_size=16)
    first = method.fit(*vae, checkpoint=tmp_path)
    from jensen.inference.step.engine import Engine

    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a step was taken")

    monkeypatch.setattr(Engine, "run", never)
    monkeypatch.setattr(Engine, "first_step", never)
    again = method.fit(*vae, checkpoint=tmp_path)
    same(first, again)
    assert again.status in ("converged", "not converged", "unknown")
    assert {**again.info} == {**first.info}


def test_a_run_that_stopped_early_stays_stopped(logistic: Any, tmp_path: Path, same: Callable[..., None]) -> None:
    first = svi().fit(*logistic, checkpoint=tmp_path, callbacks=[lambda progress: progress.step >= 20])
    assert (first.status, first.info["steps"]) == ("stopped early", 20)
    again = svi().fit(*logistic, checkpoint=tmp_path)
    assert again.status == "stopped early"
    same(first, again)


def test_another_configuration_is_refused(logistic: Any, tmp_path: Path) -> None:
    model, data = logistic
    svi().fit(model, data, checkpoint=tmp_path)
    for other, field in (
        (svi(lr=0.1), "`lr`: 0.05 there, 0.1 here"),
        (svi(objective=Trace_ELBO(2)), "`num_particles`: 1 there, 2 here"),
        (svi(optimizer=torch.optim.SGD), "`optimizer`"),
        (svi(optimizer_options={"weight_decay": 0.1}), "`optimizer_options.weight_decay`"),
        (svi(guide="lowrank"), "`guide`"),
        (svi(compile=False), "`compile`"),
        (svi(batch_size=20), "`batch_size`"),
    ):
        with pytest.raises(CheckpointError, match=field):
            other.fit(model, data, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="`seed`: 0 there, 1 here"):
        svi().fit(model, data, seed=1, checkpoint=tmp_path)


def test_other_data_or_another_model_are_refused(logistic: Any, vae: Any, tmp_path: Path) -> None:
    model, data = logistic
    svi().fit(model, data, checkpoint=tmp_path)
    moved = {**data, "x": data["x"] + 1.0}
    with pytest.raises(CheckpointError, match="`data`"):
        svi().fit(model, moved, checkpoint=tmp_path)
    wider = type(model)(4, prior_scale=3.0)
    with pytest.raises(CheckpointError, match=r"`model_arguments.prior_scale`"):
        svi().fit(wider, data, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="`model`"):
        svi().fit(*vae, checkpoint=tmp_path)


def harm(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_damaged_newest_state_falls_back_to_the_one_before(
    logistic: Any, tmp_path: Path, suffix: str, same: Callable[..., None]
) -> None:
    method = svi(checkpoint_every=10)
    method.fit(*logistic, checkpoint=tmp_path, callbacks=[interrupt_at(25)])
    newest = sorted(tmp_path.glob(f"checkpoint-*.{suffix}"))[-1]
    harm(newest)
    with pytest.warns(RuntimeWarning, match="Going on from the state of step 20"):
        resumed = method.fit(*logistic, checkpoint=tmp_path)
    same(resumed, method.fit(*logistic))


def test_nothing_readable_left_is_an_error(logistic: Any, tmp_path: Path) -> None:
    svi(checkpoint_every=10).fit(*logistic, checkpoint=tmp_path, callbacks=[interrupt_at(25)])
    for path in tmp_path.glob("checkpoint-*.json"):
        path.write_text("{")
    with pytest.raises(CheckpointError, match=r"truncated or is not a jensen file.*remove it to start again"):
        svi(checkpoint_every=10).fit(*logistic, checkpoint=tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(logistic: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="A file is in the way"):
        svi().fit(*logistic, checkpoint=tmp_path / "file")
