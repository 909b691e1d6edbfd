"""Check that the model passed to `load` is of the kind that was fitted."""

from __future__ import annotations

__all__ = ["check_given", "other_arguments", "other_shapes"]

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import CheckpointError
from ..storage.json_values import differences
from ..storage.names import stable_name
from .constructor_arguments import NotPlainError, encode


def check_given(model: Any, description: Mapping[str, Any]) -> None:
    """Raise a `CheckpointError` unless `model` is an object of the described class (wherever that is now defined)."""
    if isinstance(model, type):
        raise CheckpointError(f"`model=` is the class `{model.__name__}`. Pass an object: `model={model.__name__}(…)`.")
    if not callable(model):
        raise CheckpointError(f"`model=` must be a model of the fitted kind, got {type(model).__name__}.")
    paths = description["class"], stable_name(type(model))
    there, here = (path.rpartition(":")[2].rpartition(".")[2] for path in paths)
    if there != here:
        raise CheckpointError(
            f"`model=` is a `{here}`, but the fit is of a `{there}`. Pass a model of that class; if the class was "
            f"renamed, pass one of a subclass with the old name."
        )


def other_arguments(model: Any, description: Mapping[str, Any]) -> list[str]:
    """A line for each constructor argument (tensors apart) in which `model` differs from the described one."""
    there = description["init_arguments"] or {}
    here: dict[str, Any] = {}
    for name, value in getattr(model, "init_arguments", {}).items():
        try:
            here[name] = encode(value, name, {})
        except NotPlainError:
            continue
    shared = [name for name in there if name in here and not _has_tensor(there[name]) and not _has_tensor(here[name])]
    return differences({name: there[name] for name in shared}, {name: here[name] for name in shared})


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "$tensor" in value or any(_has_tensor(item) for item in value.values())
    return isinstance(value, list) and any(_has_tensor(item) for item in value)


def other_shapes(model: nn.Module, stored: Mapping[str, Tensor]) -> list[str]:
    """A line for each parameter or buffer whose shape differs between `model` and what is stored."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    kept = {name: tuple(value.shape) for name, value in stored.items()}
    names = [name for name in {**kept, **own} if own.get(name) != kept.get(name)]
    return [f"`{name}` is {kept.get(name, 'absent')} there, {own.get(name, 'absent')} here" for name in names]
