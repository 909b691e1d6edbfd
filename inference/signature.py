"""What a model takes: its argument names, which are required, which may be drawn, which stay integers."""

from __future__ import annotations

__all__ = ["Signature", "read_signature", "refuse_class"]

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import DataError, ModelError, nearest


@dataclass(frozen=True)
class Signature:
    """The arguments of a model's program.

    Attributes:
        model: the class name, for messages.
        names: all argument names, in order.
        required: those without a default.
        observed: those with the default None, which the model draws when they are not given.
        integers: those annotated ``torch.LongTensor``, which keep int64.
        open_ended: whether the program also takes ``**kwargs``.
    """

    model: str
    names: tuple[str, ...]
    required: tuple[str, ...]
    observed: tuple[str, ...]
    integers: frozenset[str]
    open_ended: bool

    def check(self, keys: Iterable[str], *, observed: bool = True) -> None:
        """Check the keys of a batch.

        Args:
            keys: the names given.
            observed: whether at least one of the observed arguments must be among them, as in a fit.

        Raises:
            DataError: if a key is not an argument, or an argument is missing.
        """
        given = list(keys)
        takes = ", ".join(f"`{name}`" for name in self.names)
        for key in given:
            if key not in self.names and not self.open_ended:
                raise DataError(
                    f"`{self.model}` takes no argument `{key}`.{nearest(key, self.names)} It takes {takes}."
                )
        missing = [name for name in self.required if name not in given]
        if missing:
            listed = ", ".join(f"`{name}`" for name in missing)
            raise DataError(f"`{self.model}` also needs {listed}: pass a dict with the keys {takes}.")
        if observed and not self.required and self.observed and not any(name in given for name in self.observed):
            listed = " or ".join(f"`{name}`" for name in self.observed)
            raise DataError(
                f"Nothing is observed: `{self.model}` draws {listed} (default None) unless it is given. Pass a dict "
                f"with the keys {takes}."
            )

    @property
    def first(self) -> str:
        """The argument that a bare array stands for."""
        if not self.names:
            raise DataError(f"`{self.model}` takes no named argument, so a bare array has no place. Pass a dict.")
        return self.names[0]


def read_signature(model: Any) -> Signature:
    """Read the signature of a `LatentVariableModel`'s `model`, or of a Pyro program given as a callable.

    Raises:
        ModelError: if `model` is neither, or a class.
    """
    refuse_class(model)
    program = getattr(model, "model", model)
    if not callable(program):
        raise ModelError(f"`model` must be a LatentVariableModel or a callable, got {type(model).__name__}.")
    parameters = [p for p in inspect.signature(program).parameters.values() if p.name != "self"]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    weight = getattr(model, "row_weight", None)  # says how often a row counts: nothing that could be drawn
    return Signature(
        model=getattr(model, "__name__", type(model).__name__),
        names=tuple(p.name for p in named),
        required=tuple(p.name for p in named if p.default is p.empty),
        observed=tuple(p.name for p in named if p.default is None and p.name != weight),
        integers=frozenset(p.name for p in named if "LongTensor" in str(p.annotation)),
        open_ended=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def refuse_class(model: Any) -> None:
    """Raise a `ModelError` for a class in a model's place."""
    if isinstance(model, type):
        raise ModelError(f"`model` is the class `{model.__name__}`: build one, `{model.__name__}(…)`.")
