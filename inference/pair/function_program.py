"""Programs given as functions: the modules that they use are found and copied, so that a fit trains what it owns."""

from __future__ import annotations

__all__ = ["FunctionProgram", "counterparts", "own_copy", "with_modules"]

import copy
import dis
import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from jensen.models.common.parameter_scope import make_local

from ..errors import ModelError
from .plain_state import contents

_LIBRARIES = frozenset({"torch", "pyro", "numpy", "pandas", "scipy", "jensen", *sys.stdlib_module_names}) - {"__main__"}
_DEPTH = 5


class FunctionProgram(nn.Module):
    """A program that is a function (a closure, a partial, an object with `__call__`) around modules.

    The function goes on using the modules that it knows; while it runs, these have the parameters, buffers and mode of
    the copies that this module holds, under the names that the function has for them.

    Args:
        function: the program.
        modules: the modules that it uses, by name.
        copies: what stands for a module, or for a part of one, by its id; others are copied.
    """

    def __init__(
        self, function: Callable[..., Any], modules: Mapping[str, nn.Module], copies: Mapping[int, nn.Module]
    ) -> None:
        super().__init__()
        memo: dict[int, Any] = dict(copies)
        originals, own = [], []
        for name, module in modules.items():
            make_local(module)
            originals += list(module.modules())
            copied = copy.deepcopy(module, memo)
            own += list(copied.modules())
            if id(module) not in copies:
                self.add_module(name, copied)
        self._shared, self._own = _Shared(function, originals), own

    @property
    def function(self) -> Callable[..., Any]:
        """The function as it was given."""
        return self._shared.function

    @property
    def __name__(self) -> str:
        found: Any = self.function
        while isinstance(found, functools.partial):
            found = found.func
        return getattr(found, "__name__", type(found).__name__)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function with the parameters held here."""
        with self._lent():
            return self.function(*args, **kwargs)

    @contextmanager
    def _lent(self) -> Iterator[None]:
        names = ("_parameters", "_buffers", "training")
        pairs = list(zip(self._shared.originals, self._own, strict=True))
        before = [{name: vars(original)[name] for name in names} for original, _ in pairs]
        try:
            for original, own in pairs:
                vars(original).update({name: vars(own)[name] for name in names})
            yield
        finally:
            for (original, _), kept in zip(pairs, before, strict=True):
                vars(original).update(kept)


@dataclass(frozen=True)
class _Shared:
    """What copies of a program share: the function, and the modules that it knows, with their parts."""

    function: Callable[..., Any]
    originals: list[nn.Module]

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


def own_copy(model: Any, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Any:
    """A fit's own copy of a model, with all the modules that it uses, ready to run with parameters of its own.

    Raises:
        ModelError: a function uses a tensor that requires a gradient and belongs to no module.
    """
    own = copy.deepcopy(model) if isinstance(model, nn.Module) or inspect.ismethod(model) else with_modules(model, {})
    module = own.__self__ if inspect.ismethod(own) else own
    if isinstance(module, nn.Module):
        make_local(module.to(device=device, dtype=dtype))
    return own


def with_modules(function: Any, copies: Mapping[int, nn.Module]) -> Any:
    """The function with the modules that it uses, as a `FunctionProgram`; anything else, and one without, as it is.

    Args:
        function: a program.
        copies: what stands for a module that it uses, or for a part of one, by its id.
    """
    if isinstance(function, (nn.Module, type)) or not callable(function) or _owner(function) is not None:
        return function
    found = _Found()
    found.look("", function, _DEPTH)
    held = {id(module) for module in copies.values()}
    modules = {name: module for name, module in found.modules.items() if id(module) not in held}
    inner = {id(part) for module in modules.values() for part in list(module.modules())[1:]}
    modules = {name: module for name, module in modules.items() if id(module) not in inner}
    return FunctionProgram(function, modules, copies) if modules else function


def counterparts(model: Any, own: Any) -> dict[int, nn.Module]:
    """What stands for the modules of a model in its copy, and in the copy itself, by their ids."""
    if isinstance(own, FunctionProgram):
        pairs = list(zip(own._shared.originals, own._own, strict=True))
    else:
        first, second = (m.__self__ if inspect.ismethod(m) else m for m in (model, own))
        if not (isinstance(first, nn.Module) and isinstance(second, nn.Module)):
            return {}
        pairs = list(zip(first.modules(), second.modules(), strict=True))
    return {id(original): copied for original, copied in pairs} | {id(copied): copied for _, copied in pairs}


def _owner(function: Any) -> nn.Module | None:
    owner = getattr(function, "__self__", None) if inspect.ismethod(function) else None
    return owner if isinstance(owner, nn.Module) else None


class _Found:
    """What a function reaches: through its closure, the globals that it names, its defaults, and its object."""

    def __init__(self) -> None:
        self.modules: dict[str, nn.Module] = {}
        self.seen: dict[int, Any] = {}

    def look(self, name: str, value: Any, depth: int) -> None:
        if id(value) in self.seen or depth == 0:
            return
        self.seen[id(value)] = value
        if isinstance(value, nn.Module):
            self._add(name or "module", value)
        elif isinstance(value, nn.Parameter):
            raise ModelError(
                f"The program uses the parameter `{name}`, which belongs to no module, so no fit could train it. Hold "
                f'it in an `nn.Module`, or declare it inside the program: `pyro.param("{name}", …)`.'
            )
        elif isinstance(value, functools.partial):
            self.look(name, value.func, depth)
            named = {f"argument{i}": item for i, item in enumerate(value.args)} | value.keywords
            for key, item in named.items():
                self.look(key, item, depth - 1)
        elif inspect.ismethod(value):
            self.look(name, value.__func__, depth)
            self.look(name, value.__self__, depth)
        elif isinstance(value, types.FunctionType):
            self._function(value, depth)
        elif isinstance(value, (list, tuple, set, frozenset)) and len(value) <= 1_000:
            for index, item in enumerate(value):
                self.look(f"{name}_{index}", item, depth - 1)
        elif isinstance(value, dict) and len(value) <= 1_000:
            for key, item in value.items():
                self.look(f"{name}_{key}", item, depth - 1)
        elif hasattr(value, "__dict__") and not isinstance(value, (type, types.ModuleType, torch.Tensor)):
            if type(value).__module__.partition(".")[0] not in _LIBRARIES:
                self.look(name, type(value).__call__ if callable(value) else None, depth)
                for key, item in vars(value).items():
                    self.look(f"{name}_{key}".strip("_"), item, depth - 1)

    def _add(self, name: str, module: nn.Module) -> None:
        name = name.replace(".", "_")
        while name in self.modules or hasattr(nn.Module, name):
            name += "_"
        self.modules[name] = module

    def _function(self, function: types.FunctionType, depth: int) -> None:
        if (function.__module__ or "").partition(".")[0] in _LIBRARIES:
            return
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        values = [(name, value) for name, cell in cells for value in contents(cell)]
        known, attributes = function.__globals__, _names(function.__code__, ("LOAD_ATTR", "LOAD_METHOD"))
        values += [(name, known[name]) for name in _names(function.__code__) if name in known]
        values += list((function.__kwdefaults__ or {}).items())
        values += [(f"default{i}", value) for i, value in enumerate(function.__defaults__ or ())]
        for name, value in values:
            if isinstance(value, nn.Parameter) and "param" in attributes:
                continue  # it may be where a `pyro.param` starts
            if not isinstance(value, types.ModuleType):
                self.look(name, value, depth - 1)
            elif value.__name__.partition(".")[0] not in _LIBRARIES:  # `networks.decoder`
                for attribute in attributes:
                    if isinstance(item := vars(value).get(attribute), (nn.Module, types.FunctionType)):
                        self.look(attribute, item, depth - 1)


def _names(code: types.CodeType, operations: tuple[str, ...] = ("LOAD_GLOBAL", "LOAD_NAME")) -> list[str]:
    """The globals that a function names, and those that it defines inside; with other operations, the attributes."""
    found = {step.argval: None for step in dis.get_instructions(code) if step.opname in operations}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= dict.fromkeys(_names(constant, operations))
    return list(found)
