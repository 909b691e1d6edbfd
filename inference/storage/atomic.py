"""Files that are whole or absent: atomic writes, checked safetensors, and nothing that unpickles."""

from __future__ import annotations

__all__ = [
    "digest",
    "discard",
    "dump_tensors",
    "fingerprint",
    "parse_tensors",
    "prepare_folder",
    "whole_file",
    "write_file",
]

import errno
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from ..errors import CheckpointError


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
    except (SafetensorError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
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
    with _explained("write into", folder), tempfile.TemporaryFile(dir=folder) as trial:
        trial.write(b"\0" * 4096)
        trial.flush()
        os.fsync(trial.fileno())
    return folder


def write_file(path: Path, content: bytes) -> None:
    """Write the file so that a reader sees the old one or the new one, whole, whenever the process is killed.

    Raises:
        CheckpointError: if it cannot be written; the old file is then still there.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` to write to; what it then holds is forced to disk and takes the name in one step.

    Raises:
        CheckpointError: if it cannot be written; the old file is then still there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with _explained("write", path):
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            discard(temporary)
            raise
        _sync_folder(path.parent)


def discard(path: Path) -> None:
    """Remove the file if it is there and can be: a file too many does no harm."""
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
