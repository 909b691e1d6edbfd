"""The identity of a run, by which a folder that holds another is refused, and the options in it."""

from __future__ import annotations

__all__ = ["plain", "run_identity"]

import functools
from collections.abc import Mapping
from typing import Any

import torch

from ..data.base import Data, MemoryData
from ..storage.atomic import fingerprint
from ..storage.json_values import to_plain


def plain(option: Any) -> Any:
    """A plain value that stands for a method's option in a stored configuration."""
    return to_plain(option, _of_option)


def _of_option(value: Any) -> Any:
    if isinstance(value, functools.partial):
        return {"function": value.func, **value.keywords}
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return value.__qualname__
    text = repr(value)
    return text if " at 0x" not in text else type(value).__qualname__


def run_identity(
    configuration: Mapping[str, Any],
    model: Any,
    data: Data,
    validation: Mapping[str, torch.Tensor] | None,
    seed: int,
    shapes: Mapping[str, torch.Tensor],
) -> dict[str, Any]:
    """What makes a run this one: a folder that holds any other is refused.

    Data in memory count with every value, streamed ones with their number alone.
    """
    arguments = getattr(model, "init_arguments", {})
    return {
        **configuration,
        "seed": seed,
        **({} if configuration.get("average") is None else {"average_starts_at": 0.0}),
        "model": getattr(model, "__qualname__", type(model).__qualname__),
        "model_arguments": to_plain(arguments, _of_argument),
        "parameters": {name: list(value.shape) for name, value in shapes.items()},
        "data_size": data.size,
        "data": fingerprint(data.tensors) if isinstance(data, MemoryData) else None,
        "validation": None if validation is None else fingerprint(validation),
    }


def _of_argument(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return fingerprint({"": value})
    return str(getattr(value, "__qualname__", type(value).__qualname__))
