"""A writer that is killed leaves nothing for ever, and no file of somebody else's is ever removed or overwritten."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from line_fits import line_fit

from jensen.inference import load
from jensen.inference.errors import CheckpointError
from jensen.inference.storage.atomic import digest
from jensen.inference.storage.bundle import read_bundle, write_bundle
from jensen.inference.storage.checkpoint import CheckpointStore
from jensen.inference.storage.folder_lock import alone_in

NAMES = ["data.safetensors", "fit.json", "history.csv", "parameters.safetensors"]


class Killed(BaseException):
    """What no handler may catch: here the process would have ended."""


@contextmanager
def killed_at(count: int) -> Iterator[list[str]]:
    """Let the process "die" at the count-th change it makes to the disk; whatever would tidy up then does nothing."""
    calls: list[str] = []
    real = {name: getattr(os, name) for name in ("replace", "unlink", "fsync")}

    def counted(name):
        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == count:
                raise Killed
            return None if len(calls) > count else real[name](*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(os, name, counted(name))
        try:
            yield calls
        except Killed:
            pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def other_fit():
    """A fit with other parameters, history and data."""
    fit = line_fit()
    with torch.no_grad():
        fit.model.log_scale.fill_(0.5)
    fit.data["x"].mul_(2)
    object.__setattr__(fit, "seed", 9)
    fit.__dict__["_history"]["bound"] *= 2
    return fit


@pytest.mark.parametrize("first", [False, True])
def test_after_any_kill_the_next_save_leaves_its_own_files_alone(tmp_path, first, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the disk is not what dies here
    one, other = line_fit(), other_fit()
    done, count = False, 0
    while not done:
        count += 1
        folder = tmp_path / str(count)
        if not first:
            one.save(folder)
        with killed_at(count) as calls:
            other.save(folder)
            done = len(calls) < count
        if (folder / "fit.json").exists():
            assert load(folder).seed in (3, 9)
        (folder / "notes.txt").write_text("mine")
        (folder / "history-mine.csv").write_text("mine")
        (folder / "history-0123abcd.csv").write_text("mine, in a name like jensen's")
        (folder / ".notes.txt.tmp").write_text("mine")
        for fit in (one, other):
            fit.save(folder)
            assert load(folder).seed == fit.seed
            strangers = {".notes.txt.tmp", "history-0123abcd.csv", "history-mine.csv", "notes.txt"}
            left = set(names(folder)) - strangers
            assert {name.replace(f"-{digest((folder / name).read_bytes())[:8]}", "") for name in left} == set(NAMES)
            assert len(left) == len(NAMES)
            assert strangers <= set(names(folder))
    assert count > 12


def test_orphans_of_earlier_versions_are_removed(tmp_path):
    fit = line_fit()
    fit.save(tmp_path)
    content = (tmp_path / "parameters.safetensors").read_bytes()
    for torn in (".parameters.safetensors.tmp", ".history-0123abcd.csv.tmp", ".fit.json.0123abcd.tmp"):
        (tmp_path / torn).write_bytes(content[:9])
    orphan = f"parameters-{digest(content + b'x')[:8]}.safetensors"
    (tmp_path / orphan).write_bytes(content + b"x")
    fit.save(tmp_path)
    assert names(tmp_path) == NAMES


def test_what_another_manifest_names_stays(tmp_path):
    line_fit().save(tmp_path)
    shutil.copy(tmp_path / "fit.json", tmp_path / "kept.json")
    other_fit().save(tmp_path)
    _, kept = read_bundle(tmp_path / "kept.json", "fit")
    assert set(kept) == set(NAMES) - {"fit.json"}


def test_files_of_others_are_neither_overwritten_nor_removed(tmp_path):
    for name in ("history.csv", "parameters.safetensors"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "data.safetensors").mkdir()
    for fit in (line_fit(), other_fit(), line_fit()):
        fit.save(tmp_path)
        assert load(tmp_path).seed == fit.seed
        assert (tmp_path / "history.csv").read_text() == (tmp_path / "parameters.safetensors").read_text() == "mine"
        assert len(names(tmp_path)) == 7
    (tmp_path / "edited").mkdir()
    line_fit().save(tmp_path / "edited")
    (tmp_path / "edited" / "history.csv").write_text("my notes, over jensen's file")
    line_fit().save(tmp_path / "edited")
    other_fit().save(tmp_path / "edited")
    assert (tmp_path / "edited" / "history.csv").read_text() == "my notes, over jensen's file"
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    entry = {"file": "../outside.txt", "sha256": digest(b"mine")}
    forged = {"format": "jensen.fit", "format_version": 1, "files": {"history.csv": entry}, "body": {}}
    (tmp_path / "forged").mkdir()
    (tmp_path / "forged" / "fit.json").write_text(json.dumps(forged))
    (tmp_path / "forged" / ".fit.saving").write_text(json.dumps({"../outside.txt": digest(b"mine"), "a": 3}))
    line_fit().save(tmp_path / "forged")
    assert outside.read_text() == "mine"
    assert names(tmp_path / "forged") == NAMES


def test_another_programs_json_is_not_overwritten(tmp_path):
    for text in ('{"my": "settings"}', "[1, 2]", '{"format": "other.fit"}'):
        (tmp_path / "fit.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"Cannot write .*fit\.json: another program's file of that name"):
            line_fit().save(tmp_path)
        assert (tmp_path / "fit.json").read_text() == text
    (tmp_path / "fit.json").unlink()
    (tmp_path / "fit.json").mkdir()
    with pytest.raises(CheckpointError, match=r"Cannot write .*fit\.json: a folder is in the way"):
        line_fit().save(tmp_path)
    line_fit().save(tmp_path / "torn")
    (tmp_path / "torn" / "fit.json").write_text('{"format": "jensen.fit", "fil')
    line_fit().save(tmp_path / "torn")
    assert load(tmp_path / "torn").seed == 3


def test_writers_and_readers_at_the_same_time(tmp_path):
    troubles: list[BaseException] = []
    write_bundle(tmp_path, "fit", "fit", {"who": -1}, {"a.bin": b"-1", "b.bin": b"-1"})

    def work(who: int) -> None:
        try:
            for turn in range(15):
                content = f"{who} {turn}".encode()
                write_bundle(tmp_path, "fit", "fit", {"who": who}, {"a.bin": content, "b.bin": content})
                body, files = read_bundle(tmp_path / "fit.json", "fit")
                assert files["a.bin"] == files["b.bin"]
                assert files["a.bin"].startswith(f"{body['who']} ".encode())
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert len(names(tmp_path)) == 3


def test_a_lock_that_is_not_let_go_is_said(tmp_path):
    message = r"Another process has been writing into .* for 0.05 s"
    with alone_in(tmp_path), pytest.raises(CheckpointError, match=message), alone_in(tmp_path, patience=0.05):
        raise AssertionError("two are inside")
    with alone_in(tmp_path):
        assert names(tmp_path) == []


def test_a_run_prunes_only_what_it_wrote(tmp_path):
    store = CheckpointStore(tmp_path, {"lr": 0.1})
    mine = ["checkpoint-plan.md", "checkpoint-000000000001.txt", "checkpoint-00000000000a.json", ".checkpoint-me.tmp"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    torn = (".checkpoint-000000000001.json.tmp", ".checkpoint-000000000001.safetensors.0123abcd.tmp")
    for name in torn:
        (tmp_path / name).write_text("torn")
    for step in (1, 2, 3):
        store.save(step, {"w": torch.ones(2)}, {})
    kept = [f"checkpoint-00000000000{step}.{end}" for step in (2, 3) for end in ("json", "safetensors")]
    assert names(tmp_path) == sorted([*mine, *kept])
