"""A model and a guide bound into one module, so that every parameter of the pair belongs to it and both can be run."""

from __future__ import annotations

__all__ = ["BoundPair", "empty_guide"]

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro.params.param_store import ParamStoreDict
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.distributions import constraints, transform_to

from .function_program import FunctionProgram
from .messengers.unvalidated import Unvalidated
from .plain_state import Place, kept
from .signature import program_of


class _OwnParameters(Messenger):
    """Keep what `pyro.param` statements declare inside a module, and the global store untouched."""

    def __init__(self, bank: nn.Module, constraint_of: dict[str, Any], owner: nn.Module, adopted: set[str]) -> None:
        super().__init__()
        self.bank = bank
        self.constraint_of = constraint_of
        self.owner = owner
        self.adopted = adopted

    def _pyro_param(self, msg: Any) -> None:
        if not isinstance(getattr(msg["fn"], "__self__", None), ParamStoreDict):
            return  # a module's own parameter: its value is already here
        name = msg["name"]
        key = name.replace(".", "__")
        if name not in self.constraint_of:
            initial = msg["args"][1] if len(msg["args"]) > 1 else msg["kwargs"].get("init_tensor")
            constraint = msg["kwargs"].get("constraint", constraints.real)
            if len(msg["args"]) > 2:
                constraint = msg["args"][2]
            if any(initial is parameter for parameter in self.owner.parameters()):  # by `pyro.module`
                msg["value"], msg["done"] = initial, True
                self.adopted.add(name)
                return
            initial = initial() if callable(initial) and not isinstance(initial, torch.Tensor) else initial
            with torch.no_grad():
                unconstrained = transform_to(constraint).inv(torch.as_tensor(initial)).detach().clone()
            self.bank.register_parameter(key, nn.Parameter(unconstrained))
            self.constraint_of[name] = constraint
        value = getattr(self.bank, key)
        constrained = transform_to(self.constraint_of[name])(value)
        constrained.unconstrained = lambda: value
        msg["value"] = constrained
        msg["done"] = True


@dataclass(eq=False)
class _Bank:
    module: nn.Module = field(default_factory=nn.Module)
    constraint_of: dict[str, Any] = field(default_factory=dict)
    adopted: set[str] = field(default_factory=set)  # what `pyro.module` declares: parameters of the pair's modules


class BoundPair(nn.Module):
    """A model and its guide, bound so that every parameter of the pair belongs to one module. Abstract; see `Program`.

    Args:
        model: a `LatentVariableModel`, or any Pyro program as a callable.
        guide: a module, a callable, or None for the model's own `guide` method (an empty guide if it has none).
        isolated: whether parameters live in the modules and the global parameter store is left alone. Fits are
            isolated; a program that runs inside a plain `pyro.infer.SVI` is not.
    """

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any] | None = None, *, isolated: bool = True):
        super().__init__()
        if guide is None:
            guide = getattr(model, "guide", None) if isinstance(model, nn.Module) else None
        if guide is None:
            guide = empty_guide
        method = isinstance(model, nn.Module) and program_of(model) is not model
        self._model = _Holder(model, "model", None) if method else _holder(model)
        self._guide = _holder(guide)
        if isinstance(self._model.owner, nn.Module):
            self.model_module = self._model.owner
        if isinstance(self._guide.owner, nn.Module) and self._guide.owner is not self._model.owner:
            self.guide_module = self._guide.owner
        self._bank = _Bank()
        self.pyro_params = self._bank.module
        self.isolated = isolated
        self.loop_over_particles = False
        self.drawn_again = False  # whether the guide was seen to draw the same in a second run
        self.at_start: dict[str, Any] = {}  # Python values before the first run, by path
        self.restless: dict[str, Place] = {}  # Python values that each run changes, by path
        self.exacting = False  # whether every density whose terms may cancel is evaluated in float64: in scores

    @property
    def model(self) -> Callable[..., Any]:
        return self._model.function

    @property
    def guide(self) -> Callable[..., Any]:
        return self._guide.function

    @property
    def model_owner(self) -> Any:
        """The model as an object: the module whose method (or call) is the program, else the function itself."""
        return self._model.owner

    @property
    def guide_owner(self) -> nn.Module | None:
        """The module that holds the guide's parameters (the model itself when the guide is its method)."""
        owner = self._guide.owner
        return owner if isinstance(owner, nn.Module) else None

    @property
    def roots(self) -> dict[str, Any]:
        """From where the pair's Python state is reached, by name."""
        owners = {"model": self._model.owner, "guide": self._guide.owner}
        return {name: o.function if isinstance(o, FunctionProgram) else o for name, o in owners.items()}

    def start_again(self) -> None:
        """Python values that each run changes are what they were before the first."""
        for name, place in self.restless.items():
            if name in self.at_start:
                place.set(self.at_start[name])
            elif name.startswith(("model.", "guide.")):
                place.remove()

    def at_rest(self) -> AbstractContextManager[None]:
        """Runs inside are no steps: Python values that each run changes are afterwards what they were."""
        return kept(self.restless.values())

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Module-local parameters, `pyro.param` kept in the program, validation off."""
        with ExitStack() as stack:
            stack.enter_context(pyro.validation_enabled(False))
            stack.enter_context(Unvalidated())
            if self.isolated:
                bank = self._bank
                if bank.adopted:  # Pyro tells of every parameter of `pyro.module` that has no gradient
                    stack.enter_context(warnings.catch_warnings())
                    warnings.filterwarnings("ignore", message=".* was not registered in the param store")
                stack.enter_context(pyro.settings.context(module_local_params=True))
                stack.enter_context(_OwnParameters(bank.module, bank.constraint_of, self, bank.adopted))
            yield


@dataclass(eq=False)
class _Holder:
    """A callable kept outside the module tree: a method is found again on its owner, also after a deep copy."""

    owner: Any
    name: str | None
    callable: Callable[..., Any] | None

    @property
    def function(self) -> Callable[..., Any]:
        if self.name is not None:
            bound: Callable[..., Any] = getattr(self.owner, self.name)
            return bound
        assert self.callable is not None
        return self.callable


def _holder(function: Callable[..., Any]) -> _Holder:
    if inspect.ismethod(function):
        return _Holder(function.__self__, function.__func__.__name__, None)
    return _Holder(function, None, function)


def empty_guide(*args: Any, **batch: Any) -> None:
    """A guide without sites."""
