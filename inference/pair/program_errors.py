"""Pyro's and torch's errors for common slips, translated: with the name and the cure."""

from __future__ import annotations

__all__ = ["explained"]

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
    except IndexError as error:
        if "out of bounds" in str(error) or "out of range" in str(error):
            raise ModelError(
                f"The program indexes out of bounds: {error}. The data hold a group or category that the model has no "
                f"place for: number them from 0, and build the model with the number of all of them."
            ) from error
        if "used as indices must be" in str(error):
            raise ModelError(
                "The program indexes with floating numbers, which data become unless they are integers and an argument "
                "that must be given. Annotate the argument, such as `group: torch.LongTensor`, or write `group.long()`."
            ) from error
        raise
    except RuntimeError as error:
        clash, twice = _CLASH.match(str(error)), _TWICE.match(str(error))
        if clash:
            name = clash.group(1)
            raise ModelError(
                f"`{name}` is the name of a parameter and of a sample site. Rename one of them: the module's attribute "
                f"or `pyro.param`, or the site."
            ) from error
        if twice:
            raise ModelError(
                f"Two sample sites are named `{twice.group(1)}` in one run of the program. Give each its own name, as "
                f'`f"{twice.group(1)}_{{i}}"` in a loop.'
            ) from error
        raise
