"""What is on disk is whole, checked and never unpickled; what cannot be written is said before it matters."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from jensen.inference.errors import CheckpointError
from jensen.inference.storage import atomic as storage
from jensen.inference.storage.atomic import dump_tensors, fingerprint, parse_tensors, prepare_folder, write_file
from jensen.inference.storage.bundle import read_bundle, write_bundle
from jensen.inference.storage.json_values import differences, from_json, to_json

BODY = {"lr": 0.1, "third": 1 / 3, "bound": float("nan"), "limit": -math.inf, "names": ["a", "b"], "none": None}


def saved(folder: Path, value: float = 1.0, body: Any = BODY) -> Path:
    tensors = {
        "w": torch.full((3,), value),
        "n": torch.tensor(3),
        "flag": torch.tensor([True]),
        "none": torch.zeros(0, 2),
    }
    return write_bundle(folder, "thing", "thing", body, {"thing.safetensors": dump_tensors(tensors)})


def test_bundle_round_trip(tmp_path: Path) -> None:
    body, files = read_bundle(saved(tmp_path), "thing")
    assert math.isnan(body.pop("bound"))
    assert body == {name: value for name, value in BODY.items() if name != "bound"}
    tensors = parse_tensors(files["thing.safetensors"])
    assert tensors["w"].tolist() == [1.0] * 3
    assert tensors["n"].shape == ()
    assert tensors["none"].shape == (0, 2)
    assert tensors["flag"].dtype == torch.bool
    tensors["w"] += 1  # writable memory
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thing.json", "thing.safetensors"]


def test_json_on_disk_is_strict(tmp_path: Path) -> None:
    text = saved(tmp_path).read_text()

    def refuse(token: str) -> None:
        raise AssertionError(token)

    json.loads(text, parse_constant=refuse)


def test_views_and_shared_storage_are_written_in_full() -> None:
    flat = torch.arange(6.0)
    tensors = parse_tensors(dump_tensors({"a": flat[:3], "b": flat[3:].view(3, 1).T, "c": flat}))
    assert tensors["b"].tolist() == [[3.0, 4.0, 5.0]]


def test_json_values() -> None:
    class Text:
        pass

    value = {
        "t": (1, torch.tensor(2)),
        "d": torch.float64,
        "v": torch.device("cpu"),
        "o": torch.optim.Adam,
        "s": {"b", "a"},
    }
    assert to_json(value) == {
        "t": [1, 2],
        "d": "torch.float64",
        "v": "cpu",
        "o": "torch.optim.adam:Adam",
        "s": ["a", "b"],
    }
    for number in (0.1, 1e-300, 2.0**-1074, 1.7976931348623157e308, float("inf")):
        assert from_json(json.loads(json.dumps(to_json(number), allow_nan=False))) == number
    with pytest.raises(TypeError, match=r"`a\.b\[1\]` cannot be written as JSON: it is a Text"):
        to_json({"a": {"b": [0, Text()]}})
    with pytest.raises(TypeError, match=r"`a` has a key that is not text: 1"):
        to_json({"a": {1: 2}})
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 1.0}, "d": 3}) == [
        "`a.b`: 1 there, 1.0 here",
        "`c`: 2 there, absent here",
        "`d`: absent there, 3 here",
    ]


def test_fingerprint_tells_values_names_and_types_apart() -> None:
    x = torch.arange(6.0).view(2, 3)
    marks = [{"x": x}, {"y": x}, {"x": x.double()}, {"x": x.T}, {"x": x + 1}, {"x": x, "y": x}, {"x": x > 1}]
    assert len({fingerprint(mark) for mark in marks}) == len(marks)
    assert fingerprint({"x": x}) == fingerprint({"x": x.T.contiguous().T})


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def edit(old: str, new: str) -> Any:
    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("thing.json", truncate, "thing.json is truncated or is not a jensen file"),
        ("thing.json", edit("0.1", "0.2"), "thing.json was changed after it was written"),
        ("thing.json", edit('"format_version": 1', '"format_version": 99'), "has format version 99; this jensen reads"),
        ("thing.json", edit("jensen.thing", "jensen.other"), "is not a jensen thing: its `format` is 'jensen.other'"),
        ("thing.json", lambda path: path.write_text("{}"), "JSON, but not a jensen file"),
        ("thing.json", lambda path: path.write_text("[NaN]"), "NaN is not JSON"),
        ("thing.json", lambda path: path.write_bytes(pickle.dumps({"a": 1})), "is truncated or is not a jensen file"),
        ("thing.json", Path.unlink, "thing.json cannot be read .No such file"),
        ("thing.safetensors", truncate, "thing.safetensors is truncated or was changed"),
        ("thing.safetensors", flip, "thing.safetensors is truncated or was changed"),
        ("thing.safetensors", Path.unlink, "thing.safetensors, which thing.json names, cannot be read"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, harm: Any, message: str) -> None:
    manifest = saved(tmp_path)
    harm(tmp_path / name)
    with pytest.raises(CheckpointError, match=message):
        read_bundle(manifest, "thing")


class Exploit:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    content = pickle.dumps(Exploit())
    monkeypatch.setattr(os, "system", called.append)
    manifest = write_bundle(tmp_path, "thing", "thing", {}, {"thing.safetensors": content})
    _, files = read_bundle(manifest, "thing")
    with pytest.raises(CheckpointError, match=r"truncated or is not a safetensors file"):
        parse_tensors(files["thing.safetensors"])
    for cut in range(0, 200, 7):
        with pytest.raises(CheckpointError, match=r"truncated or is not a safetensors file"):
            parse_tensors(dump_tensors({"w": torch.zeros(50)})[:cut])
    assert called == []


def test_prepare_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match=r"Cannot make the folder .*A file is in the way"):
            prepare_folder(path)
    for number, advice in [(errno.ENOSPC, "Free some space"), (errno.EROFS, "read-only"), (errno.EACCES, "may write")]:

        def refuse(*args: Any, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(storage.os, "fsync", refuse)
        with pytest.raises(CheckpointError, match=rf"Cannot write .*{os.strerror(number)}.*{advice}"):
            prepare_folder(folder)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_full_disk_leaves_the_old_bundle_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    manifest = saved(tmp_path, 1.0)
    real, count = getattr(os, call), 0

    def full(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count == (nth if call == "replace" else 2 * nth - 1):  # each file is followed by a sync of the folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    monkeypatch.setattr(storage.os, call, full)
    with pytest.raises(CheckpointError, match=r"No space left on device. Free some space"):
        saved(tmp_path, 2.0)
    monkeypatch.undo()
    _, files = read_bundle(manifest, "thing")
    assert parse_tensors(files["thing.safetensors"])["w"].tolist() == [1.0] * 3
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    saved(tmp_path, 2.0)
    _, files = read_bundle(manifest, "thing")
    assert parse_tensors(files["thing.safetensors"])["w"].tolist() == [2.0] * 3


def test_saving_again_replaces_and_cleans(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 2.0, 3.0):
        manifest = saved(tmp_path, value)
        _, files = read_bundle(manifest, "thing")
        assert parse_tensors(files["thing.safetensors"])["w"][0] == value
        assert len(list(tmp_path.iterdir())) == 2


def test_write_file_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    with pytest.raises(CheckpointError, match=r"Cannot write .*missing"):
        write_file(tmp_path / "missing" / "a.txt", b"")
