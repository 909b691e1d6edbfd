"""What a person is told of an error: one line, with the file and the line where it arose in a file of their own."""

from __future__ import annotations

__all__ = ["explain", "place_of"]

import functools
import importlib
import re
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from jensen.inference.errors import JensenError
from jensen.inference.plain_text import printable

_PACKAGES = ("datasets", "inference", "models", "studies")
_LIBRARIES = {"site-packages", "dist-packages"}


def explain(error: BaseException) -> str:
    """Return the error as one line: ``file:line: kind: message``.

    The place is given for errors that pass through a file of the user's own; the kind (the class of the error) is left
    out where the message was written for a person.
    """
    if isinstance(error, SystemExit):
        kind, message = "", f"sys.exit({'' if error.code is None else repr(error.code)}) was called; expected none."
    else:
        message = " ".join(str(error).split())
        written = isinstance(error, ValueError | JensenError) or message.startswith("`")
        kind = "" if written and message else type(error).__name__
        if (asked := re.search(r"tried to allocate (\d+) bytes", message)) is not None:
            kind, message = "out of memory", f"{int(asked[1]) / 2**30:,.1f} GiB were asked for at once."
    found = next(filter(None, map(place_of, _chain(error))), None)
    return printable(": ".join(filter(None, (found, kind, message))))


def place_of(error: BaseException) -> str | None:
    """Return ``file:line`` of the innermost frame of the error that is in neither Python, jensen nor a library."""
    places = traceback.extract_tb(error.__traceback__)
    own = [(place.filename, place.lineno) for place in places if not _is_library(place.filename)]
    if not own:
        return None
    file, line = Path(own[-1][0]), own[-1][1]
    return f"{file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}:{line}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_library(filename: str) -> bool:
    if filename.startswith("<"):
        return True
    path = Path(filename).resolve()
    return bool(_LIBRARIES & set(path.parts)) or any(path.is_relative_to(folder) for folder in _folders())


@functools.cache
def _folders() -> tuple[Path, ...]:
    """Folders of the standard library and of jensen."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    modules = [importlib.import_module(f"jensen.{name}") for name in _PACKAGES]
    return tuple({Path(path).resolve() for path in [*paths, *(path for m in modules for path in m.__path__)]})
