"""Files that are either whole or absent: atomic JSON writes, folder swaps, and labels made safe for paths."""

from __future__ import annotations

__all__ = ["check_file", "clear", "read_json", "slug", "swap_folder", "write_json", "write_text"]

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jensen.inference.errors import ConfigurationError
from jensen.inference.storage.atomic import prepare_folder, write_file
from jensen.inference.storage.json_values import to_plain

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
    """Write ``text`` to ``path`` so that a reader sees the old file or the new one, never a part.

    Raises:
        CheckpointError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as strict JSON, atomically; non-finite floats become ``"nan"``, ``"inf"``, ``"-inf"``."""
    write_text(path, json.dumps(to_plain(content, _stand_in, str), indent=2, allow_nan=False) + "\n")


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


def _stand_in(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)  # of numbers and arrays of NumPy and torch
