"""What makes a model (a class, a function, or a model that is there already) and the parameters it takes."""

from __future__ import annotations

__all__ = ["constructor", "takes"]

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn


def takes(factory: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of what makes a model; none for a model that is built already."""
    return {} if isinstance(factory, nn.Module) else inspect.signature(constructor(factory)).parameters


def constructor(factory: Any) -> Callable[..., Any]:
    """Return what is called: of a class its `__init__`, which a metaclass may hide from `signature`."""
    if not isinstance(factory, type):
        return factory  # type: ignore[no-any-return]
    return functools.partial(factory.__init__, None)  # type: ignore[misc]
