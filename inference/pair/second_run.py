"""A guide run again to be scored: at detached parameters, on the noise and the buffers that its first run saw."""

from __future__ import annotations

__all__ = ["Moment", "detached"]

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .bound_pair import BoundPair
from .plain_state import Place, kept, restore


@contextmanager
def detached(program: BoundPair) -> Iterator[None]:
    """Inside, no parameter that a run reaches carries a gradient, whoever owns it; all keep their values.

    That holds for those of the guide, of the model (shared with the guide or not), and of `pyro.param` statements.
    Outside of a fit, where parameters may also live in the global store or in modules that only a closure knows, every
    leaf that requires a gradient counts as one.
    """
    if not program.isolated:
        with _DetachLeaves():
            yield
        return
    saved: list[tuple[nn.Module, str, Any]] = []
    try:
        for module in program.modules():
            for name, value in module._parameters.items():
                if value is not None and value.requires_grad:
                    saved.append((module, name, value))
                    module._parameters[name] = value.detach()  # type: ignore[assignment]
        yield
    finally:
        for module, name, value in saved:
            module._parameters[name] = value


class _DetachLeaves(TorchFunctionMode):
    """Operations see leaves without their gradient; the objects stay, so that an optimiser still collects them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*_without(args), **_without(kwargs or {}))


def _without(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach() if value.is_leaf and value.requires_grad else value
    if type(value) in (tuple, list):
        return type(value)(_without(item) for item in value)
    if type(value) is dict:
        return {key: _without(item) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class Moment:
    """What a run changes besides its draws, as it is now.

    Attributes:
        buffers: running means, vectors of power iterations, ….
        values: counters and other Python values.
    """

    buffers: list[tuple[nn.Module, str, torch.Tensor]]
    values: list[tuple[Place, Any]]

    @staticmethod
    def now(program: BoundPair) -> Moment:
        return Moment(
            [
                (module, name, value.clone())
                for module in program.modules()
                for name, value in module._buffers.items()
                if value is not None
            ],
            [(place, place.get()) for place in program.restless.values()],
        )

    @contextmanager
    def again(self) -> Iterator[None]:
        """Inside it is that moment again; what the run changes is forgotten."""
        present = [(module, name, module._buffers[name]) for module, name, _ in self.buffers]
        try:
            with kept(place for place, _ in self.values):
                restore(self.values)
                for module, name, value in self.buffers:
                    module._buffers[name] = value.clone()
                yield
        finally:
            for module, name, current in present:
                module._buffers[name] = current
