"""The errors that jensen raises, and the nearest-name hint they share."""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigurationError",
    "DataError",
    "JensenError",
    "ModelError",
    "NonFiniteError",
    "nearest",
    "nearest_or_all",
]

import difflib
from collections.abc import Iterable
from typing import Any

from .plain_text import printable


class JensenError(Exception):
    """Base of every error that jensen raises on purpose. What it quotes is shown without control characters.

    Attributes:
        finding: what was found wrong with a pair, where that is the reason.
    """

    finding: Any = None

    def __str__(self) -> str:
        return printable(super().__str__(), lines=True)


class DataError(JensenError, ValueError):
    """The data cannot be used as they are: empty, non-finite, of the wrong type, shape or name."""


class ModelError(JensenError, ValueError):
    """The model/guide pair is not a valid program for what was asked of it."""


class ConfigurationError(JensenError, ValueError):
    """A method, objective or option was configured with a value that cannot work."""


class CheckpointError(JensenError, RuntimeError):
    """A stored run cannot be read or written."""


class NonFiniteError(JensenError, FloatingPointError):
    """A loss, a gradient or a parameter became infinite or not a number."""


def nearest(name: object, options: Iterable[str]) -> str:
    """Return ``" Did you mean `x`?"`` for the option closest to `name`, or ``""`` when none is close."""
    match = difflib.get_close_matches(str(name), list(options), n=1, cutoff=0.5)
    return f" Did you mean `{match[0]}`?" if match else ""


def nearest_or_all(name: object, options: Iterable[str]) -> str:
    """Return `nearest`'s hint or, when none is close, ``" Known: a, b."`` with all the options."""
    known = list(options)
    return nearest(name, known) or f" Known: {', '.join(known) or 'none'}."
