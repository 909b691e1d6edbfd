"""Checks of a method's options."""

from __future__ import annotations

__all__ = [
    "check_callbacks",
    "check_compile",
    "check_count",
    "check_dtype",
    "check_fraction",
    "check_positive",
    "check_seed",
    "check_whole",
]

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch

from .errors import ConfigurationError


def check_whole(name: str, value: Any) -> None:
    """Refuse what is not a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"`{name}` must be a positive whole number, got {value!r}.")


def check_count(name: str, value: Any, least: int = 1) -> int:
    """`value`, how many draws or bytes, as an integer of at least `least`; ``1e3`` and NumPy's integers will do.

    Raises:
        ConfigurationError: otherwise.
    """
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1
    try:
        number = int(value) if whole else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ConfigurationError(f"`{name}` must be an integer of at least {least}, got {value!r}.")
    return number


def check_positive(name: str, value: Any) -> None:
    """Refuse what is not a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise ConfigurationError(f"`{name}` must be a positive, finite number, got {value!r}.")


def check_seed(value: Any) -> None:
    """Refuse what is not a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"`seed` must be a whole number, got {value!r}.")


def check_fraction(name: str, value: Any, meaning: str, example: str = "") -> None:
    """Refuse what is not in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < 1.0:
        raise ConfigurationError(f"`{name}` must be {meaning} in [0, 1){example}, got {value!r}.")


def check_callbacks(value: Any) -> tuple[Callable[..., Any], ...]:
    """`value` as a tuple of functions of a `Progress`."""
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        raise ConfigurationError(f"`callbacks` must be a list of functions of a `Progress`; put `{name}` in a list.")
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ConfigurationError(f"`callbacks` must be a list of functions of a `Progress`, got {value!r}.")
    functions = tuple(value)
    for function in functions:
        if not callable(function):
            raise ConfigurationError(f"`callbacks` must be functions of a `Progress`, got {function!r}.")
    return functions


def check_compile(value: Any) -> None:
    """Raise unless `value`, of methods that only compile or do not, is True, False or None."""
    if value not in (None, True, False):
        raise ConfigurationError(f"`compile` must be True, False or None, got {value!r}.")


def check_dtype(value: Any) -> None:
    """Refuse what is neither None nor a floating-point type."""
    if value is not None and not (isinstance(value, torch.dtype) and value.is_floating_point):
        raise ConfigurationError(f"`dtype` must be a floating-point torch.dtype, got {value!r}.")
