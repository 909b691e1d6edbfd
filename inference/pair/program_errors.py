"""Pyro's and torch's errors for common slips, translated: with the name and the cure."""

from __future__ import annotations

__all__ = ["explained", "translated"]

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import JensenError, ModelError

_CLASH = re.compile(r"^(.*) is already in the trace as a (?:param|sample)\b")
_TWICE = re.compile(r"^Multiple \w+ sites named '(.*)'")


@contextmanager
def explained() -> Iterator[None]:
    """Inside, a program's slip with names or indices is a `ModelError` that says what to change.

    Raises:
        ModelError: a parameter is named like a sample site, two sites share a name, an index is floating or out of
            bounds.
    """
    try:
        yield
    except JensenError:
        raise
    except Exception as error:
        if (said := translated(error)) is not None:
            raise said from error
        raise


def translated(error: Exception) -> ModelError | None:
    """The error that says what to change, or None for one that is no common slip."""
    text = str(error)
    if isinstance(error, IndexError):
        if "out of bounds" in text or "out of range" in text:
            return ModelError(
                f"The program indexes out of bounds: {text}. The data hold a group or category that the model has no "
                f"place for: number them from 0, and build the model with the number of all of them."
            )
        if "used as indices must be" in text:
            return ModelError(
                "The program indexes with floating numbers, which data become unless they are integers and an argument "
                "that must be given. Annotate the argument, such as `group: torch.LongTensor`, or write `group.long()`."
            )
    elif isinstance(error, RuntimeError):
        if clash := _CLASH.match(text):
            return ModelError(
                f"`{clash.group(1)}` is the name of a parameter and of a sample site. Rename one of them: the module's "
                f"attribute or `pyro.param`, or the site."
            )
        if twice := _TWICE.match(text):
            return ModelError(
                f"Two sample sites are named `{twice.group(1)}` in one run of the program. Give each its own name, as "
                f'`f"{twice.group(1)}_{{i}}"` in a loop.'
            )
    return None
