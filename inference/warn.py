"""Warnings that point to the user's own line, whatever the depth they are raised at."""

from __future__ import annotations

__all__ = ["warn_user"]

import inspect
import warnings

# the packages between a fit and its caller
_OURS = ("jensen", "torch", "pyro", "contextlib", "functools", "concurrent")


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn as if the line that called jensen (a `fit`, a `load`, a score) did.

    That line is the innermost one outside of jensen and of the libraries that it runs programs with, so that Python
    shows it, and repeats a warning once a line of the user's. Where there is none (a thread of jensen's), it is the
    outermost.
    """
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_back is not None and _ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS
