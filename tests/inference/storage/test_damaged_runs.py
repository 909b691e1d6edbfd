"""A checkpoint that is damaged, forged or of another shape is passed over for the one before it."""

from __future__ import annotations

import contextlib
import json
import math
import random
import warnings

import pytest
import torch
from line_fits import Line, forge, forge_tensors, line_fit

from jensen.inference import EM, SVI, LossMinimization, Trace_ELBO
from jensen.inference.errors import CheckpointError
from jensen.models import VQVAE, GaussianMixture

from .test_damaged_fits import JUNK, paths, put


def stop_at(step):
    """A callback that ends a run as Ctrl-C would."""

    def callback(progress):
        if progress.step >= step:
            raise KeyboardInterrupt

    return callback


def numbers(fit):
    """What must be the same."""
    state = fit.program.state_dict()
    return {name: value.tolist() for name, value in state.items()} | {"loss": fit.history["loss"].tolist()}


def svi_run():
    method = SVI(
        Trace_ELBO(),
        guide="normal",
        steps=12,
        log_every=2,
        checkpoint_every=4,
        compile=False,
        device="cpu",
        average=0.5,
        progress=False,
    )
    return method, Line(), line_fit().data, [stop_at(8)]


def em_run():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(20, 2), torch.randn(20, 2) + 3])
    method = EM(steps=8, tolerance=1e-12, restarts=1, checkpoint_every=2, progress=False)
    return method, GaussianMixture(2, 2), {"x": x}, [stop_at(5)]


def loss_run():
    torch.manual_seed(0)
    model = VQVAE(4, 6, 2, likelihood="gaussian", hidden=(5,))
    method = LossMinimization(steps=12, log_every=2, checkpoint_every=4, progress=False)
    return method, model, {"x": torch.randn(30, 4)}, [stop_at(10)]


@pytest.fixture(params=[svi_run, em_run, loss_run])
def run(request, tmp_path):
    """A run cut short with two checkpoints; what its end gives; and a way to put the checkpoints back."""
    method, model, data, callbacks = request.param()
    whole = numbers(method.fit(model, data, seed=1))
    with contextlib.suppress(KeyboardInterrupt):
        method.fit(model, data, seed=1, checkpoint=tmp_path / "run", callbacks=callbacks)
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    manifests = sorted(path for path in kept if path.name.startswith("checkpoint") and path.suffix == ".json")
    assert len(manifests) == 2

    def restore():
        for path in {*kept, *(path for path in (tmp_path / "run").rglob("*") if path.is_file())}:
            path.unlink() if path not in kept else path.write_bytes(kept[path])

    def resume():
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            fit = method.fit(model, data, seed=1, checkpoint=tmp_path / "run")
        return numbers(fit), [str(warning.message) for warning in seen]

    return whole, manifests, restore, resume


def test_forged_states_are_passed_over(run):
    whole, (_, newest), restore, resume = run
    draw, passed = random.Random(0), 0
    body = json.loads(newest.read_text())["body"]
    places = [place for place in paths(body) if place and place[0] != "config"]
    for turn in range(25):
        restore()
        place = draw.choice(places)
        if turn < len(body["state"]) + 3:  # every key once, taken away
            place = [*(("state", key) for key in body["state"]), ("step",), ("history",), ("finished",)][turn]
        junk = put if turn < len(body["state"]) + 3 else draw.choice((*JUNK, put))
        if place[0] == "history" and isinstance(junk, float) and math.isfinite(junk):
            continue  # another number in the place of a row's: none can tell
        forge(newest, lambda body, place=place, junk=junk: put(body, place, junk))
        try:
            found, said = resume()
        except CheckpointError as error:  # the configuration seems to be another one
            if str(newest.parent) not in str(error):
                raise
            continue
        if said:
            assert "Going on from the state of step" in said[0]
            assert str(newest) in said[0]
            assert found == whole
            passed += 1
    assert passed >= len(body["state"])


def test_tensors_of_other_names_and_shapes_are_passed_over(run):
    whole, (_, newest), restore, resume = run
    name = newest.with_suffix(".safetensors").name
    restore()
    keys = []
    forge_tensors(newest, name, lambda tensors: keys.extend(sorted(tensors)))
    changes = [
        lambda tensors: tensors.pop(keys[0]),
        lambda tensors: tensors.clear(),
        lambda tensors: tensors.update({keys[0]: torch.zeros(7, 7, 7)}),
        lambda tensors: tensors.update({keys[-1]: torch.zeros(7, 7, 7)}),
        lambda tensors: tensors.update({key: value.long() for key, value in tensors.items()}),
        lambda tensors: tensors.update({f"{keys[0]}.more": torch.zeros(1)}),
    ]
    for change in changes:
        restore()
        forge_tensors(newest, name, change)
        found, said = resume()
        assert len(said) == 1
        assert f"{newest} holds no state of this run" in said[0]
        assert found == whole


def test_a_folder_or_deep_json_in_a_checkpoints_place(run):
    whole, (older, newest), restore, resume = run
    restore()
    newest.write_text("[" * 100_000)
    found, said = resume()
    assert "is truncated or is not a jensen file" in said[0]
    assert found == whole
    restore()
    for path in (newest, older):
        path.unlink()
        path.mkdir()
    with pytest.raises(CheckpointError, match=r"is not a file.*No other state is left in .*: remove it to start again"):
        resume()
    newest.rmdir()
    older.rmdir()
    restore()
    for path in (newest, older):
        forge(path, lambda body: body["state"].clear())
    with pytest.raises(CheckpointError, match=r"holds no state of this run: .*No other state is left"):
        resume()
