"""The identity of a run, by which a folder that holds another is refused."""

from __future__ import annotations

__all__ = ["run_identity"]

from collections.abc import Mapping
from typing import Any

import torch

from ..data.base import Data, MemoryData
from ..storage.atomic import fingerprint


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
        "model_arguments": {name: _plain(value) for name, value in arguments.items()},
        "parameters": {name: list(value.shape) for name, value in shapes.items()},
        "data_size": data.size,
        "data": fingerprint(data.tensors) if isinstance(data, MemoryData) else None,
        "validation": None if validation is None else fingerprint(validation),
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return fingerprint({"": value})
    return getattr(value, "__qualname__", type(value).__qualname__)
