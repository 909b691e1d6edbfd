"""The arguments of a model: names, which are required, which may be drawn, which stay integers."""

from __future__ import annotations

__all__ = ["Fault", "Signature", "name_of", "program_of", "read_signature", "refuse_class"]

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import DataError, ModelError, nearest
from .function_program import FunctionProgram

Fault = tuple[str, DataError]
"""What is wrong with the data, after the argument it is about (``""`` for all of them)."""


@dataclass(frozen=True)
class Signature:
    """The arguments of a model's program.

    Attributes:
        model: the class name, for messages.
        names: all argument names, in order.
        places: those that data without a name stand for, in order: without a default, or with None.
        required: those without a default.
        observed: those with the default None, which the model draws when they are not given.
        integers: those that keep int64: annotated ``torch.LongTensor``, or found to be indices.
        open_ended: whether the program also takes ``**kwargs``.
    """

    model: str
    names: tuple[str, ...]
    places: tuple[str, ...]
    required: tuple[str, ...]
    observed: tuple[str, ...]
    integers: frozenset[str]
    open_ended: bool

    def takes(self, name: str) -> bool:
        """Whether a batch may have this key."""
        return name in self.names or self.open_ended

    def faults(self, keys: Iterable[str], *, observed: bool = True) -> Iterator[Fault]:
        """What is wrong with the keys of a batch: some that are no arguments, arguments that are missing.

        Args:
            keys: the names given.
            observed: whether at least one of the observed arguments must be among them, as in a fit.
        """
        given = list(keys)
        takes = ", ".join(f"`{name}`" for name in self.names)
        for key in given:
            if not self.takes(key):
                hint = nearest(key, self.names)
                yield key, DataError(f"`{self.model}` takes no argument `{key}`.{hint} It takes {takes}.")
        missing = [name for name in self.required if name not in given]
        if missing:
            listed = ", ".join(f"`{name}`" for name in missing)
            yield missing[0], DataError(f"`{self.model}` also needs {listed}. Pass a dict with the keys {takes}.")
        if observed and not self.required and self.observed and not any(name in given for name in self.observed):
            listed = " or ".join(f"`{name}`" for name in self.observed)
            text = f"Nothing is observed: `{self.model}` draws {listed} (default None) unless it is given."
            yield "", DataError(f"{text} Pass a dict with the keys {takes}.")

    @property
    def first(self) -> str:
        """The argument that a bare array stands for."""
        if not self.places:
            raise DataError(f"`{self.model}` takes no named argument, so a bare array has no place. Pass a dict.")
        return self.places[0]

    def in_order(self, parts: Sequence[Any], what: str) -> dict[str, Any]:
        """The parts of a tuple as arguments by name.

        Raises:
            DataError: if there are more parts than arguments.
        """
        if len(parts) > len(self.places):
            raise DataError(
                f"{what} {len(parts)} parts, but `{self.model}` takes {len(self.places)} ({', '.join(self.places)}): a "
                f"tuple holds its arguments in order. Pass a dict with the keys you want, or rows as a list."
            )
        return dict(zip(self.places, parts, strict=False))


def program_of(model: Any) -> Callable[..., Any]:
    """The Pyro program: the object's method `model` if it has one, else the callable itself.

    Raises:
        ModelError: if there is none.
    """
    method = getattr(model, "model", None)
    program = method if callable(method) and not isinstance(method, nn.Module) else model  # a part may be called model
    if not callable(program):
        raise ModelError(f"`model` must be a LatentVariableModel or a callable, got {type(model).__name__}.")
    return program


def read_signature(model: Any) -> Signature:
    """Read the signature of a `LatentVariableModel`'s `model`, or of a Pyro program given as a callable.

    Raises:
        ModelError: if `model` is neither, or a class; if its program's arguments have no names.
    """
    refuse_class(model)
    program = program_of(model)
    name = name_of(model)
    if isinstance(program, FunctionProgram):
        program = program.function
    readable = program.forward if isinstance(program, nn.Module) else program
    parameters = [p for p in inspect.signature(readable).parameters.values() if p.name != "self"]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unnamed = next((p for p in parameters if p.kind is p.POSITIONAL_ONLY), None)
    if unnamed is not None:
        raise ModelError(
            f"`{name}` takes `{unnamed.name}` by position alone, and data are passed by name. Leave out the `/` after "
            f"it."
        )
    rest = next((p for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    if rest is not None and not named:
        raise ModelError(
            f"`{name}` takes `*{rest.name}`, and data are passed by name. Name its arguments, such as "
            f"`def {name}(x, y=None):`."
        )
    weight = getattr(model, "row_weight", None)  # says how often a row counts: nothing that could be drawn
    return Signature(
        model=name,
        names=tuple(p.name for p in named),
        places=tuple(p.name for p in named if p.default is p.empty or p.default is None),
        required=tuple(p.name for p in named if p.default is p.empty),
        observed=tuple(p.name for p in named if p.default is None and p.name != weight),
        integers=frozenset(p.name for p in named if "LongTensor" in str(p.annotation)),
        open_ended=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def name_of(model: Any) -> str:
    """What to call the model in messages."""
    while isinstance(model, functools.partial):
        model = model.func
    name: str = getattr(model, "__name__", type(model).__name__)
    return name.strip("<>")


def refuse_class(model: Any) -> None:
    """Raise a `ModelError` for a class in a model's place."""
    if isinstance(model, type):
        raise ModelError(f"`model` is the class `{model.__name__}`: build one, `{model.__name__}(…)`.")
