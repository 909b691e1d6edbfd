"""Files that are whole or absent: atomic writes, strict JSON, checked safetensors, and nothing that unpickles."""

from __future__ import annotations

__all__ = [
    "FORMAT_VERSION",
    "digest",
    "dump_tensors",
    "fingerprint",
    "parse_tensors",
    "prepare_folder",
    "read_bundle",
    "write_bundle",
    "write_file",
]

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from .errors import CheckpointError
from .json_values import from_json, to_json

FORMAT_VERSION = 1
"""Version of every file that this module writes; a reader refuses any other."""


def digest(content: bytes) -> str:
    """SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the tensors' names, types, shapes and values: equal exactly when they are equal, on any device."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        state.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        state.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return state.hexdigest()


def dump_tensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The tensors as one safetensors file. Views and shared storage are written out in full."""
    import safetensors.torch

    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    content: bytes = safetensors.torch.save(plain)
    return content


def parse_tensors(content: bytes, origin: str | Path = "the file") -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: if `content` is not a whole safetensors file.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{origin} is truncated or is not a safetensors file ({error}).") from error
    return tensors


def prepare_folder(path: str | Path) -> Path:
    """Make the folder and prove that it can be written, before hours are spent on what should go into it.

    Returns:
        The folder's absolute path.

    Raises:
        CheckpointError: if the folder cannot be made or written: read-only, full, or a file is in the way.
    """
    folder = Path(path).expanduser().absolute()
    with _explained("make the folder", folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / ".writable", b"\0" * 4096)
    with _explained("write into the folder", folder):
        (folder / ".writable").unlink()
    return folder


def write_file(path: Path, content: bytes) -> None:
    """Write the file so that a reader sees the old one or the new one, whole, whenever the process is killed.

    The content goes to a hidden file beside it, is forced to disk, and takes the name in one step.

    Raises:
        CheckpointError: if it cannot be written; the old file is then still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with _explained("write", path):
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            _discard(temporary)
            raise
        _sync_folder(path.parent)


def write_bundle(folder: Path, stem: str, kind: str, body: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Write `files` and then the JSON that names them with their checksums; the JSON's arrival is the commit.

    A file whose name is taken by other content gets its checksum's first letters in its name, so a bundle that is
    already there stays whole until the new one is; what only the old one named is then removed.

    Args:
        folder: where to write; it must exist.
        stem: name of the JSON file, without ``.json``.
        kind: what the bundle is, such as ``"fit"``; a reader asks for the same.
        body: JSON-able content (see :func:`to_json`).
        files: content by file name.

    Returns:
        The path of the JSON file.

    Raises:
        CheckpointError: if something cannot be written; the earlier bundle is then still whole.
    """
    manifest = folder / f"{stem}.json"
    before = _named_files(manifest)
    entries: dict[str, dict[str, str]] = {}
    for name, content in files.items():
        checksum = digest(content)
        target = folder / name
        if target.exists() and digest(target.read_bytes()) != checksum:
            target = folder / f"{target.stem}-{checksum[:8]}{target.suffix}"
        if not target.exists() or digest(target.read_bytes()) != checksum:
            write_file(target, content)
        entries[name] = {"file": target.name, "sha256": checksum}
    core = {"format": f"jensen.{kind}", "format_version": FORMAT_VERSION, "files": entries, "body": to_json(body)}
    text = json.dumps({**core, "checksum": digest(_canonical(core))}, indent=1, allow_nan=False)
    write_file(manifest, text.encode())
    for name in before - {entry["file"] for entry in entries.values()}:
        _discard(folder / name)
    return manifest


def read_bundle(manifest: Path, kind: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The body and the files of a bundle, each checked against its checksum.

    Raises:
        CheckpointError: if it is missing, truncated, changed by hand, of another version or not such a bundle.
    """
    core = _parse_manifest(manifest)
    found = core.get("format")
    if found != f"jensen.{kind}":
        raise CheckpointError(f"{manifest} is not a jensen {kind}: its `format` is {found!r}.")
    if core.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{manifest} has format version {core.get('format_version')!r}; this jensen reads version "
            f"{FORMAT_VERSION}. Read it with the jensen that wrote it, or run again into another folder."
        )
    if core.pop("checksum", None) != digest(_canonical(core)):
        raise CheckpointError(f"{manifest} was changed after it was written: its checksum does not match.")
    files: dict[str, bytes] = {}
    for name, entry in core["files"].items():
        path = manifest.parent / Path(entry["file"]).name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}, which {manifest.name} names, cannot be read ({error.strerror}).") from error
        if digest(content) != entry["sha256"]:
            raise CheckpointError(f"{path} is truncated or was changed: its checksum is not that in {manifest.name}.")
        files[name] = content
    body: dict[str, Any] = from_json(core["body"])
    return body, files


def _canonical(core: Mapping[str, Any]) -> bytes:
    return json.dumps(core, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _parse_manifest(manifest: Path) -> dict[str, Any]:
    try:
        text = manifest.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{manifest} cannot be read ({error.strerror}). Is the folder the right one?") from error
    try:
        core = json.loads(text.decode(), parse_constant=_refuse_constant)
    except ValueError as error:
        raise CheckpointError(f"{manifest} is truncated or is not a jensen file ({error}).") from error
    if not isinstance(core, dict) or "format" not in core:
        raise CheckpointError(f"{manifest} is JSON, but not a jensen file: it has no `format`.")
    return core


def _refuse_constant(token: str) -> Any:
    raise ValueError(f"{token} is not JSON")


def _named_files(manifest: Path) -> set[str]:
    try:
        return {Path(entry["file"]).name for entry in _parse_manifest(manifest)["files"].values()}
    except (CheckpointError, KeyError, TypeError, AttributeError):
        return set()


def _discard(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # not every system opens folders
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


@contextmanager
def _explained(action: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `CheckpointError` that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        advice = {
            errno.ENOSPC: "Free some space, or choose a folder on another disk.",
            errno.EDQUOT: "Free some of your quota, or choose a folder on another disk.",
            errno.EROFS: "Choose a folder that is not on a read-only file system.",
            errno.EACCES: "Choose a folder that you may write.",
            errno.EPERM: "Choose a folder that you may write.",
            errno.EEXIST: "A file is in the way: choose another folder.",
            errno.ENOTDIR: "A file is in the way: choose another folder.",
        }.get(error.errno or 0, "Choose another folder.")
        raise CheckpointError(f"Cannot {action} {path}: {reason}. {advice}") from error
