"""What an arm is, as JSON: models, data, methods and functions described by content, and a hash of that."""

from __future__ import annotations

__all__ = ["describe", "fingerprint", "outline"]

import dataclasses
import enum
import functools
import hashlib
import json
import math
import re
import sys
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from jensen.inference.storage.names import recorded_name

# Code in these packages changes with their version only, so that a class or function there is described by its name.
_PACKAGES = {"jensen", "numpy", "pandas", "pyro", "scipy", "sklearn", "torch", "torchvision", "zuko"}
_LIBRARIES = _PACKAGES | set(sys.stdlib_module_names) - {"__main__"}
_NO_PART_OF_A_FIT = {"__delattr__", "__eq__", "__hash__", "__repr__", "__setattr__"}
_NOT_PLAIN = object()


def fingerprint(*parts: Any) -> str:
    """Return a hash (16 hex digits) of the descriptions of ``parts``; equal configurations give equal hashes.

    Arrays count by their content, objects by class and attributes, and functions and classes that are not part of a
    library by their compiled code, defaults and closure, so that editing a model's body changes its fingerprint.
    What a function reads from module globals is not followed.

    >>> fingerprint({"lr": 0.1}) == fingerprint({"lr": 0.1})
    True
    >>> fingerprint(torch.zeros(3)) == fingerprint(torch.ones(3))
    False
    """
    text = json.dumps([describe(part) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(value: Any, _seen: dict[int, Any] | None = None) -> Any:
    """Return a JSON-able description of ``value`` that is the same in every process."""
    seen: dict[int, Any] = {} if _seen is None else _seen
    below = functools.partial(describe, _seen=seen)
    plain = _plain(value)
    if plain is not _NOT_PLAIN:
        return plain
    if isinstance(value, list | tuple):
        return [below(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((below(item) for item in value), key=str)
    if isinstance(value, Mapping):
        return {str(key): below(item) for key, item in value.items()}
    if id(value) in seen:  # a cycle, or the same object again
        return {"seen": _name(value if isinstance(value, type) else type(value))}
    seen[id(value)] = value  # kept alive, so that no other object gets its id
    if isinstance(value, type):
        return _class(value, below)
    if isinstance(value, functools.partial):
        return {"partial": below(value.func), "args": below(value.args), "keywords": below(value.keywords)}
    if isinstance(value, types.MethodType):
        return {"method": value.__name__, "of": below(value.__self__)}
    if isinstance(value, types.FunctionType):
        return _function(value, below)
    if isinstance(value, nn.Module):
        return _module(value, below)
    if dataclasses.is_dataclass(value):
        told = [field for field in dataclasses.fields(value) if field.compare and not _is_later_default(value, field)]
        return {"class": below(type(value)), **{field.name: below(getattr(value, field.name)) for field in told}}
    if hasattr(value, "__dict__"):
        library = _is_library(type(value))  # whose private attributes are caches, not configuration
        state = {key: item for key, item in vars(value).items() if not (library and key.startswith("_"))}
        return {"class": below(type(value)), "state": below(state)}
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def outline(value: Any) -> Any:
    """Return ``describe(value)`` for a reader: names instead of code, shapes instead of content.

    >>> outline({"x": torch.zeros(2, 3), "steps": 5})
    {'x': 'float32 (2, 3)', 'steps': 5}
    """
    return _short(describe(value))


def _short(description: Any) -> Any:
    if isinstance(description, list):
        return [_short(item) for item in description]
    if not isinstance(description, dict):
        return description
    if "sha256" in description:
        return f"{description['dtype'].removeprefix('torch.')} {tuple(description['shape'])}"
    if "code" in description:
        return description["name"]
    short = {key: _short(item) for key, item in description.items()}
    if set(short) == {"seen"}:
        return short["seen"]
    if set(short) >= {"class", "arguments"}:  # a module that recorded its constructor's arguments
        return {"class": short["class"], "arguments": short["arguments"]}
    return short


def _plain(value: Any) -> Any:
    """Return the description of a value that holds no other values, or ``_NOT_PLAIN``."""
    if isinstance(value, enum.Enum):
        return f"{_name(type(value))}.{value.name}"
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if is_lazy(value):
        return "uninitialised"
    if isinstance(value, torch.Tensor):
        return _array(value.detach().cpu().contiguous())
    if isinstance(value, torch.dtype | torch.device | PurePath | complex | bytes | range):
        return str(value)
    if hasattr(value, "__array__") and not isinstance(value, type):
        return _from_array(value)
    return _NOT_PLAIN


def _name(kind: Any) -> str:
    return recorded_name(kind).replace(":", ".")


def _is_later_default(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether an option that came after version 0.1 has its default: then arms of before are those of now."""
    return bool(field.metadata.get("later")) and getattr(value, field.name) == field.default


def _is_library(kind: Any) -> bool:
    return str(kind.__module__).split(".")[0] in _LIBRARIES


def _array(tensor: torch.Tensor) -> dict[str, Any]:
    content = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype), "sha256": hashlib.sha256(content).hexdigest()}


def _from_array(value: Any) -> dict[str, Any]:
    array = numpy.ascontiguousarray(value)
    content = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": digest}


def _module(module: nn.Module, below: Any) -> dict[str, Any]:
    """Describe a module by class, constructor arguments (where it recorded them) and every parameter and buffer."""
    state = {key: below(item) for key, item in sorted(module.state_dict(keep_vars=True).items())}
    description = {"class": below(type(module)), "state": state}
    arguments = getattr(module, "init_arguments", None)
    if isinstance(arguments, Mapping):
        # where a fit starts that goes on from another: only then, so that other models keep their descriptions
        past = {key: below(item) for key in ("fitted", "learned_factors") if (item := getattr(module, key, None))}
        return description | {"arguments": below(arguments)} | past
    plain = {key: item for key, item in vars(module).items() if not key.startswith("_") and key != "training"}
    children = {key: below(child) for key, child in module.named_children()}
    return description | {"attributes": below(plain), "children": children}


def _class(kind: type, below: Any) -> Any:
    """Describe a class by name and, outside the libraries, by the code of its own and its bases' methods."""
    if _is_library(kind):
        return _name(kind)
    code: dict[str, Any] = {}
    for base in kind.__mro__:
        if _is_library(base):
            continue
        for key, item in vars(base).items():
            function = getattr(item, "__func__", None) or getattr(item, "fget", None) or item
            function = getattr(function, "__wrapped__", function)
            if isinstance(function, types.FunctionType) and key not in _NO_PART_OF_A_FIT:
                code[f"{base.__qualname__}.{key}"] = below(function)
    return {"name": kind.__qualname__, "code": code}


def _function(function: types.FunctionType, below: Any) -> Any:
    if _is_library(function):
        return _name(function)
    closure = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
    return {
        "name": function.__qualname__,
        "code": hashlib.sha256(repr(_code(function.__code__)).encode()).hexdigest(),
        "defaults": below(function.__defaults__),
        "keyword_defaults": below(function.__kwdefaults__),
        "closure": [below(item) for item in closure if not isinstance(item, type) or not _is_library(item)],
    }


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a name that is not assigned yet
        return False


def _code(code: types.CodeType) -> list[Any]:
    """Return what a code object does, without where it stands in its file."""
    constants = [_code(item) if isinstance(item, types.CodeType) else _constant(item) for item in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, constants]


def _constant(item: Any) -> str:
    return repr(sorted(item, key=repr)) if isinstance(item, frozenset) else repr(item)
