"""Files that are either whole or absent: atomic JSON writes, folder swaps, and labels made safe for paths."""

from __future__ import annotations

__all__ = ["check_file", "clear", "read_json", "slug", "swap_folder", "write_json", "write_text"]

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jensen.inference.errors import ConfigurationError
from jensen.inference.storage.atomic import prepare_folder

_LONGEST = 150


def slug(label: str) -> str:
    """Return ``label`` as one readable path component.

    >>> slug("IWAE (K=10), guide: normal")
    'IWAE-K=10-guide-normal'
    """
    text = re.sub(r"[^\w.=+-]+", "-", label).strip("-.")
    if len(text.encode()) > _LONGEST:  # more than a file system takes
        code = hashlib.sha256(text.encode()).hexdigest()[:8]
        text = f"{text.encode()[:_LONGEST].decode(errors='ignore')}-{code}"
    return text or "unnamed"


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as strict JSON, atomically; non-finite floats become ``"nan"``, ``"inf"``, ``"-inf"``."""
    write_text(path, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def check_file(path: Path, option: str) -> None:
    """Prove that a file can be written, before the work for it is done; no folder is made for it yet.

    Raises:
        ConfigurationError: the path is a folder's.
        CheckpointError: its folder cannot be made or written.
    """
    if path.is_dir():
        raise ConfigurationError(f"`{option} {path}`: expected the name of a file, got a folder.")
    prepare_folder(next(folder for folder in path.expanduser().absolute().parents if folder.exists()))


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object stored at ``path``, or None if there is no readable one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def swap_folder(fresh: Path, target: Path) -> None:
    """Put the finished folder ``fresh`` in the place of ``target``."""
    clear(target)
    os.replace(fresh, target)


def clear(*paths: Path) -> None:
    """Remove files and folders; those that are absent are left alone."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Return ``value`` built from JSON's own types only."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if hasattr(value, "tolist"):  # numpy and torch scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)
