"""Values as JSON holds them, for configurations and records: strict and to be read back, or plain and to be read."""

from __future__ import annotations

__all__ = ["differences", "from_json", "to_json", "to_plain"]

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from .names import recorded_name

_FLOAT = "$float"


def to_json(value: Any) -> Any:
    """Return `value` in the types of strict JSON.

    Mappings, sequences, sets (sorted), dataclasses and numbers of NumPy and torch become plain ones; non-finite floats
    become ``{"$float": "nan"}``; dtypes, devices and paths their text; classes and functions ``"module:name"``.

    Raises:
        TypeError: for anything else, naming where it was.

    Example:
        >>> to_json({"lr": 0.1, "betas": (0.9, float("inf"))})
        {'lr': 0.1, 'betas': [0.9, {'$float': 'inf'}]}
    """
    return _convert(value, "")


def to_plain(
    value: Any, stand_in: Callable[[Any], Any] = str, non_finite: Callable[[float], float | str] = float
) -> Any:
    """Return `value` in JSON's own types, whatever is in it: not to be read back, but to be compared or shown.

    Args:
        value: anything. Mappings and sequences become plain ones, keys their text.
        stand_in: called with what is neither of these, nor a number, text or None. What it returns is made plain too.
        non_finite: what a NaN or an infinity becomes.

    Example:
        >>> to_plain({"shape": (2, torch.Size([3])), "dtype": torch.float32})
        {'shape': [2, [3]], 'dtype': 'torch.float32'}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else non_finite(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, stand_in, non_finite) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item, stand_in, non_finite) for item in value]
    return to_plain(stand_in(value), stand_in, non_finite)


def from_json(value: Any) -> Any:
    """Undo :func:`to_json` for numbers; tuples come back as lists, the rest as text."""
    if isinstance(value, dict):
        if set(value) == {_FLOAT}:
            return float(value[_FLOAT])
        return {key: from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_json(item) for item in value]
    return value


def differences(there: Any, here: Any, path: str = "") -> list[str]:
    """One line for each field in which two JSON values differ: ``"`lr`: 0.1 there, 0.01 here"``.

    Example:
        >>> differences({"lr": 0.1, "steps": 5}, {"lr": 0.01, "steps": 5})
        ['`lr`: 0.1 there, 0.01 here']
    """
    if isinstance(there, dict) and isinstance(here, dict) and _FLOAT not in there and _FLOAT not in here:
        lines: list[str] = []
        for key in [*there, *(key for key in here if key not in there)]:
            inner = f"{path}.{key}" if path else str(key)
            if key not in there:
                lines.append(f"`{inner}`: absent there, {here[key]!r} here")
            elif key not in here:
                lines.append(f"`{inner}`: {there[key]!r} there, absent here")
            else:
                lines += differences(there[key], here[key], inner)
        return lines
    if there == here and type(there) is type(here):
        return []
    return [f"`{path}`: {there!r} there, {here!r} here"]


def _convert(value: Any, path: str) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, Mapping):
        return {_key(key, path): _convert(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [_convert(item, f"{path}[…]") for item in sorted(value, key=repr)]
    if isinstance(value, (list, tuple)):
        return [_convert(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, (torch.dtype, torch.device, Path)):
        return str(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return recorded_name(value)
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"$type": type(value).__name__, **_convert(fields, path)}
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return _convert(value.item(), path)
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0 and not isinstance(value, torch.nn.Module):
        return _convert(value.tolist(), path)
    where = f"`{path}`" if path else "the value"
    raise TypeError(f"{where} cannot be written as JSON: it is a {type(value).__name__}.")


def _key(key: Any, path: str) -> str:
    if isinstance(key, str):
        return key
    raise TypeError(f"`{path or 'the value'}` has a key that is not text: {key!r}.")
