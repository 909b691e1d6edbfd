"""Folders that a caller names: a path and nothing else, and none left behind empty by what failed."""

from __future__ import annotations

__all__ = ["as_path", "no_empty_folder"]

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError


def as_path(name: str, value: Any) -> Path:
    """`value` as a path, or a `ConfigurationError` that names the argument."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str) or not os.fspath(value):
        raise ConfigurationError(f"`{name}` must be the path of a folder, got {value!r}.")
    return Path(value)


@contextmanager
def no_empty_folder(folder: str | Path | None) -> Iterator[None]:
    """Remove `folder`, and those above it, if they were made inside and an error leaves them empty."""
    place = None if folder is None else Path(folder).expanduser().absolute()
    made = [] if place is None else [path for path in (place, *place.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):  # not there, or not empty
                path.rmdir()
        raise
