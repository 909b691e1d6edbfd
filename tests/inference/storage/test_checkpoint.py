"""A run's state survives any kill, damage to the newest file, and refuses to be mixed with another run's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jensen.inference.errors import CheckpointError, ConfigurationError
from jensen.inference.storage.checkpoint import CheckpointStore

CONFIG = {"method": "SVI", "lr": 0.1, "optimizer": {"name": "Adam", "betas": (0.9, 0.999)}}


def fill(store: CheckpointStore, *steps: int) -> None:
    for step in steps:
        store.save(
            step, {"w": torch.full((4,), float(step))}, {"best": -step / 3}, [{"step": step, "bound": float("nan")}]
        )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_and_finished(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "run", CONFIG)
    assert store.latest() is None
    fill(store, 10)
    found = CheckpointStore(tmp_path / "run", CONFIG).latest()
    assert found is not None
    assert (found.step, found.finished, found.state) == (10, False, {"best": -10 / 3})
    assert torch.equal(found.tensors["w"], torch.full((4,), 10.0))
    assert found.history[0]["step"] == 10
    assert found.history[0]["bound"] != found.history[0]["bound"]
    store.save(20, found.tensors, found.state, found.history, finished=True)
    for reader in (store, CheckpointStore(tmp_path / "run", CONFIG)):
        newest = reader.latest()
        assert newest is not None
        assert newest.finished


def test_keeps_the_newest_states(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, CONFIG, keep=2)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".checkpoint-000000000007.safetensors.tmp").write_text("left by a killed process")
    fill(store, 10, 20, 30)
    stems = ["checkpoint-000000000020", "checkpoint-000000000030"]
    assert names(tmp_path) == [f"{s}.{end}" for s in stems for end in ("json", "safetensors")] + ["notes.txt"]


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("harm", ["truncated", "changed", "missing"])
def test_falls_back_to_the_previous_state(tmp_path: Path, suffix: str, harm: str) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    fill(store, 10, 20)
    path = tmp_path / f"checkpoint-000000000020.{suffix}"
    content = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    elif harm == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-30] ^= 1
        path.write_bytes(content)
    if (suffix, harm) == ("json", "missing"):  # as if it had never been committed
        found = store.latest()
    else:
        with pytest.warns(
            RuntimeWarning, match=r"Going on from the state of step 10, because a newer one cannot"
        ) as seen:
            found = store.latest()
        assert len(seen) == 1
    assert found is not None
    assert found.step == 10
    fill(store, 20)  # the run comes by again
    assert store.latest().step == 20  # type: ignore[union-attr]


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    fill(store, 10, 20)
    for path in tmp_path.glob("*.json"):
        path.write_text("{")
    with pytest.raises(CheckpointError, match=r"truncated.*No other state is left in .*: remove it to start again"):
        store.latest()


def test_foreign_version_is_named(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, CONFIG)
    fill(store, 10)
    path = tmp_path / "checkpoint-000000000010.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(CheckpointError, match=r"has format version 2; this jensen reads version 1"):
        store.latest()


def test_another_configuration_is_named(tmp_path: Path) -> None:
    fill(CheckpointStore(tmp_path, CONFIG), 10)
    other = {**CONFIG, "lr": 0.2, "optimizer": {"name": "SGD", "betas": (0.9, 0.999)}}
    message = r"another configuration: `lr`: 0.1 there, 0.2 here; `optimizer.name`: 'Adam' there, 'SGD' here\. Pass"
    with pytest.raises(CheckpointError, match=message):
        CheckpointStore(tmp_path, other).latest()
    assert CheckpointStore(tmp_path, dict(reversed(CONFIG.items()))).latest() is not None


def test_keep_and_folder_are_checked_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"`keep` must be at least 2"):
        CheckpointStore(tmp_path, CONFIG, keep=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"A file is in the way"):
        CheckpointStore(tmp_path / "file", CONFIG)


WRITER = """
import sys, torch
from jensen.inference.storage.checkpoint import CheckpointStore
store = CheckpointStore(sys.argv[1], {"a": 1})
found = store.latest()
step = found.step if found else 0
print("ready", flush=True)
while True:
    step += 1
    tensors = {"w": torch.full((20_000,), float(step)), "v": torch.arange(step % 7 + 1)}
    store.save(step, tensors, {"step": step}, [{"step": s} for s in range(step % 50)])
"""


def test_killed_at_random_moments_the_newest_state_is_whole(tmp_path: Path) -> None:
    moments, last = random.Random(0), 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.02 + 0.2 * moments.random())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = CheckpointStore(tmp_path, {"a": 1}).latest()  # a fall-back would warn, and warnings are errors
        if found is None:
            continue
        assert found.step >= last
        assert found.state == {"step": found.step}
        assert torch.equal(found.tensors["w"], torch.full((20_000,), float(found.step)))
        last = found.step
    assert last > 0
