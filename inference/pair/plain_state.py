"""The Python state that a program reads or changes: numbers and strings in attributes, closures, globals, containers.

A traced step holds such values as they were when it was traced, so whoever runs one must know when they change.
"""

from __future__ import annotations

__all__ = ["GENERATORS", "Place", "PlainState", "contents", "kept", "restore"]

import hashlib
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

GENERATORS = ("numpy.random", "random")  # paths of the global generators' states

_SCALARS = (bool, int, float, complex, str, bytes, type(None))
_OWN_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}
_LIBRARIES = frozenset({"torch", "pyro", "numpy", "scipy", "pandas", "sklearn", "zuko", "jensen", "jax"})
_SEEN_THROUGH = frozenset({"types", "argparse", "collections", "__main__"})  # of the standard library
_MOST = 20_000  # values; a table of data held in a list is no state
_LONGEST = 1_000


@dataclass(frozen=True)
class Place:
    """Where a value lies: an attribute (or a global), an item of a container, or a closure's cell."""

    owner: Any
    key: Any
    kind: str

    def get(self) -> Any:
        if self.kind == "cell":
            return self.owner.cell_contents
        return self.owner[self.key] if self.kind == "item" else getattr(self.owner, self.key)

    def holds(self, value: Any) -> bool:
        """Whether this very value still lies there."""
        try:
            return self.get() is value
        except (AttributeError, LookupError, ValueError):
            return False

    def set(self, value: Any) -> None:
        if self.kind == "cell":
            self.owner.cell_contents = value
        elif self.kind == "item":
            self.owner[self.key] = value
        else:
            setattr(self.owner, self.key, value)

    def remove(self) -> None:
        """There is no such value: what a class or a caller gives in its stead is seen again."""
        if self.kind == "item":
            del self.owner[self.key]
        elif self.kind == "attribute":
            delattr(self.owner, self.key)


def restore(values: Iterable[tuple[Place, Any]]) -> None:
    """Put values back where they were."""
    for place, value in values:
        place.set(value)


@contextmanager
def kept(places: Iterable[Place]) -> Iterator[None]:
    """The values at these places are afterwards what they were; what never changed (it may be frozen) is not set."""
    values = [(place, place.get()) for place in places]
    try:
        yield
    finally:
        restore((place, value) for place, value in values if not place.holds(value))


class PlainState:
    """What `roots` (modules, functions, objects, by name) reach at this moment.

    Attributes:
        values: numbers, strings and the like by path, such as ``"model.tau"``.
        places: where those that can be set lie.
        tensors: tensors that are neither parameters nor buffers, with their version.
    """

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[str, Place] = {}
        self.tensors: dict[str, tuple[Any, int]] = {}
        self._seen: dict[int, Any] = {}
        for name, root in roots.items():
            self._walk(name, root, None)
        self.values["numpy.random"] = _digest(np.random.get_state(legacy=False))  # noqa: NPY002
        self.values["random"] = _digest(random.getstate())

    def changed(self, before: PlainState, tensors: bool = False) -> list[str]:
        """Paths of what is not as it was, of plain values (and of tensors)."""
        names = [name for name in {**before.values, **self.values} if not self._same(before, name)]
        if tensors:
            both = {**before.tensors, **self.tensors}
            names += [name for name in both if not _same_tensor(before.tensors.get(name), self.tensors.get(name))]
        return names

    def _same(self, before: PlainState, name: str) -> bool:
        if name not in before.values or name not in self.values:
            return False
        old, new = before.values[name], self.values[name]
        return type(old) is type(new) and (old == new or (old != old and new != new))

    def _walk(self, path: str, value: Any, place: Place | None) -> None:
        if isinstance(value, (*_SCALARS, np.generic)):
            self.values[path] = value
            if place is not None:
                self.places[path] = place
            return
        if id(value) in self._seen or len(self.values) > _MOST:
            return
        self._seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            self.tensors[path] = (value, _version(value))
        elif isinstance(value, np.ndarray):
            self.values[path] = _digest(value) if value.size <= _LONGEST else id(value)
        elif isinstance(value, nn.Module):
            self._attributes(path, value, _OWN_OF_MODULES)
            for name, child in value._modules.items():
                if child is not None:
                    self._walk(f"{path}.{name}", child, None)
            self._methods(path, type(value))
        elif isinstance(value, (list, tuple, deque, set, frozenset, dict)):
            self._container(path, value)
        elif isinstance(value, FunctionType):
            self._function(path, value)
        elif isinstance(value, MethodType):
            self._walk(path, value.__self__, None)
            self._walk(path, value.__func__, None)
        elif isinstance(value, partial):
            self._walk(path, value.func, None)
            self._container(path, value.args)
            self._container(path, value.keywords)
        elif (state := _generator_state(value)) is not None or type(value).__module__ == "itertools":
            self.values[path] = repr(value) if state is None else state
        elif not _is_library(type(value).__module__) and not isinstance(value, (type, ModuleType)):
            self._attributes(path, value, frozenset())
            self._methods(path, type(value))

    def _attributes(self, path: str, owner: Any, skipped: frozenset[str]) -> None:
        slots = [name for cls in type(owner).__mro__ for name in getattr(cls, "__slots__", ())]
        names = [*vars(owner)] if hasattr(owner, "__dict__") else []
        for name in [*names, *(slots if isinstance(slots, list) else [])]:
            if name not in skipped and not name.startswith(("_pyro", "__")) and hasattr(owner, name):
                self._walk(f"{path}.{name}", getattr(owner, name), Place(owner, name, "attribute"))

    def _container(self, path: str, value: Any) -> None:
        if len(value) > _LONGEST:
            return
        if isinstance(value, dict):
            for key, item in value.items():
                self._walk(f"{path}[{key!r}]", item, Place(value, key, "item"))
            return
        settable = isinstance(value, (list, deque))
        items = value if settable or isinstance(value, tuple) else sorted(value, key=repr)
        for i, item in enumerate(items):
            self._walk(f"{path}[{i}]", item, Place(value, i, "item") if settable else None)

    def _function(self, path: str, function: FunctionType) -> None:
        if _is_library(function.__module__):
            return
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            for content in contents(cell):
                self._walk(f"{path}.{name}", content, Place(cell, None, "cell"))
        self._container(path, function.__defaults__ or ())
        self._container(path, function.__kwdefaults__ or {})
        self._container(path, vars(function))
        for name in code.co_names:
            if name not in function.__globals__:
                continue
            value = function.__globals__[name]
            if isinstance(value, (ModuleType, type)):  # `settings.tau`, `Settings.tau`
                if not _is_library(getattr(value, "__module__", None) or value.__name__):
                    for other in code.co_names:
                        if other in vars(value) and isinstance(vars(value)[other], _SCALARS):
                            place = Place(value, other, "attribute")
                            self._walk(f"{value.__name__}.{other}", vars(value)[other], place)
            else:
                self._walk(f"{function.__module__}.{name}", value, Place(function.__globals__, name, "item"))

    def _methods(self, path: str, cls: type) -> None:
        """What the methods of a class read, and the plain attributes that the class itself holds."""
        for base in cls.__mro__:
            if _is_library(base.__module__) or id(base) in self._seen:
                continue
            self._seen[id(base)] = base
            for name, value in vars(base).items():
                if isinstance(value, FunctionType):
                    self._function(path, value)
                elif isinstance(value, (int, float)) and not name.startswith("__"):
                    self._walk(f"{base.__name__}.{name}", value, Place(base, name, "attribute"))


def contents(cell: CellType) -> list[Any]:
    """What a closure's cell holds: one value, or none while its name is not bound."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []


def _is_library(module: str | None) -> bool:
    root = (module or "builtins").partition(".")[0]
    return root in _LIBRARIES or (root in sys.stdlib_module_names and root not in _SEEN_THROUGH)


def _version(tensor: torch.Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # made in inference mode
        return -1


def _same_tensor(old: tuple[Any, int] | None, new: tuple[Any, int] | None) -> bool:
    return old is not None and new is not None and old[0] is new[0] and old[1] == new[1]


def _generator_state(value: Any) -> str | None:
    """The state of a random generator, of torch, NumPy or Python; None for anything else."""
    if isinstance(value, torch.Generator):
        return _digest(value.get_state().cpu().numpy().tobytes())
    if isinstance(value, np.random.Generator):
        return _digest(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return _digest(value.get_state(legacy=False))
    return _digest(value.getstate()) if isinstance(value, random.Random) else None


def _digest(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        value = [(key, _digest(item)) for key, item in value.items()]
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
