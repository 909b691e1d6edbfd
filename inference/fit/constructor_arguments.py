"""Constructor arguments in files: plain values, and names of classes that bear the very name."""

from __future__ import annotations

__all__ = ["NUMBER_TYPES", "NotPlainError", "decode", "encode", "find_class", "name_of", "named"]

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from ..errors import CheckpointError
from ..storage.names import find_named, stable_name

NUMBER_TYPES: dict[str, torch.dtype] = {
    str(kind).removeprefix("torch."): kind
    for kind in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}
"""The number types that a file may ask for, by their names in torch."""

_PARTS: tuple[type, ...] = (nn.Module, Distribution, Constraint)
_PART_PACKAGES = ("torch.nn.modules.", "torch.distributions.", "pyro.distributions.", "jensen.models.")
_FUNCTIONS = (
    "celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu log_softmax logsigmoid mish relu relu6 selu sigmoid "
    "silu softmax softmin softplus softsign tanh tanhshrink"
)
_INITIALIZERS = (
    "constant_ dirac_ eye_ kaiming_normal_ kaiming_uniform_ normal_ ones_ orthogonal_ sparse_ trunc_normal_ uniform_ "
    "xavier_normal_ xavier_uniform_ zeros_"
)


_NAMED_FUNCTIONS: dict[str, Any] = {
    f"{module.__name__}:{name}": getattr(module, name)
    for module, names in ((nn.functional, _FUNCTIONS), (nn.init, _INITIALIZERS))
    for name in names.split()
}


def name_of(value: Any) -> str | None:
    """``"module:qualified name"`` of a class or function that :func:`named` finds again; None for any other."""
    if isinstance(value, type):
        path = stable_name(value)
        try:
            return path if find_class(path, _PARTS, _PART_PACKAGES) is value else None
        except LookupError:
            return None
    return next((path for path, function in _NAMED_FUNCTIONS.items() if function is value), None)


def named(path: Any) -> Any:
    """The class or function that a constructor's argument names.

    A class must be a layer of ``torch.nn``, a distribution or a constraint of torch or Pyro, or a part of jensen's
    models; a function must be one of a fixed table of activations and initialisers.

    Raises:
        LookupError: if it is anything else.
    """
    if isinstance(path, str) and path in _NAMED_FUNCTIONS:
        return _NAMED_FUNCTIONS[path]
    return find_class(path, _PARTS, _PART_PACKAGES)


def find_class(path: Any, kinds: type | tuple[type, ...], packages: tuple[str, ...] | None = None) -> type:
    """The class of this name, if it is a subclass of one of `kinds`. Nothing is imported and nothing is called.

    The object found must itself bear the name: a class that a module merely imported, whatever else the module can
    reach, and what a module makes on request are not found.

    Args:
        path: ``"module:qualified name"``.
        kinds: what the class must derive from.
        packages: prefixes of ``"module."``, one of which it must have; None for any module that is imported.

    Raises:
        LookupError: with the reason.
    """
    if not isinstance(path, str) or path.count(":") != 1:
        raise LookupError("it is not of the form module:name")
    module, _, name = path.partition(":")
    if packages is not None and not f"{module}.".startswith(packages):
        raise LookupError("a file may not name what is in that module")
    found, reason = find_named(module, name)
    if found is None:
        raise LookupError(reason)
    if not issubclass(found, kinds):
        raise LookupError(f"it is not a {_listed(kinds)}")
    return found


def _listed(kinds: type | tuple[type, ...]) -> str:
    return " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))


class NotPlainError(Exception):
    """A constructor argument that a file cannot hold."""


def encode(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:
    """A constructor's argument as JSON; tensors in it go to `tensors`, under names that begin with `key`.

    Raises:
        NotPlainError: if a file cannot hold it.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        tensors[key] = value
        return {"$tensor": key}
    if isinstance(value, (tuple, list)):
        items = [encode(item, f"{key}.{index}", tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, Mapping) and all(isinstance(name, str) and name[:1] != "$" for name in value):
        return {name: encode(item, f"{key}.{name}", tensors) for name, item in value.items()}
    if isinstance(value, torch.dtype) and value in NUMBER_TYPES.values():
        return {"$dtype": str(value).removeprefix("torch.")}
    if callable(value) and (path := name_of(value)) is not None:
        return {"$name": path}
    raise NotPlainError(f"`{key.removeprefix('init.')}`, a {type(value).__name__}")


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo :func:`encode`.

    Raises:
        CheckpointError: if it is nothing that :func:`encode` writes.
    """
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    marks = [key for key in value if key.startswith("$")]
    if not marks:
        return {key: decode(item, tensors) for key, item in value.items()}
    mark, content = marks[0], value[marks[0]]
    if len(value) > 1:
        raise CheckpointError(f"The file holds `{mark}` beside other keys among the model's arguments: it is damaged.")
    if mark == "$tuple" and isinstance(content, list):
        return tuple(decode(item, tensors) for item in content)
    if mark == "$tensor" and isinstance(content, str) and content in tensors:
        return tensors[content]
    if mark == "$dtype" and isinstance(content, str) and content in NUMBER_TYPES:
        return NUMBER_TYPES[content]
    if mark != "$name":
        raise CheckpointError(f"The file holds {{{mark}: {content!r:.60}}} among the model's arguments: it is damaged.")
    try:
        return named(content)
    except LookupError as error:
        raise CheckpointError(
            f"The file names `{content!s:.80}` among the model's arguments, which it may not: {error}. If you know the "
            f"model, pass `model=`."
        ) from error
