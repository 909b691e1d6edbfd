"""Which arguments a program uses as indices: they must be whole numbers where everything else must be floating."""

from __future__ import annotations

__all__ = ["index_arguments"]

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map


class _Followed(TorchFunctionMode):
    """Follows floating arguments through shifts and views to the functions that take whole numbers only."""

    def __init__(self, arguments: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.origins = {id(value): frozenset({name}) for name, value in arguments.items()}
        self.kept = list(arguments.values())  # an id means its tensor while that lives
        self.found: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        floating = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.is_floating_point()]
        followed = [t for t in floating if id(t) in self.origins]
        try:
            result = func(*args, **kwargs)
        except (IndexError, RuntimeError, TypeError):
            if not followed:
                raise
            whole = {id(t): t.long() for t in followed}
            args, kwargs = tree_map(lambda t: whole.get(id(t), t), (args, kwargs))
            names = {name for t in followed for name in self.origins[id(t)]}
            try:
                result = func(*args, **kwargs)  # if it fails again, its own error says why
            except IndexError:  # whole numbers, but out of bounds
                self.found |= names
                raise
            self.found |= names
            return result
        if followed and len(followed) == len(floating) and isinstance(result, Tensor) and result.is_floating_point():
            self.origins[id(result)] = frozenset().union(*(self.origins[id(t)] for t in followed))
            self.kept.append(result)
        return result


def index_arguments(program: Callable[..., Any], batch: Mapping[str, Tensor], names: Iterable[str]) -> frozenset[str]:
    """Those of the named arguments that `program` indexes with, or otherwise refuses as floating numbers.

    The program is run on the batch once: it would fail on what is named here as floating numbers, so that nothing which
    works is changed. Draws, parameters and the caller's random state are left alone.

    Args:
        program: a Pyro program.
        batch: a few rows of its arguments, floating.
        names: the arguments in question.
    """
    names = [name for name in names if name in batch]
    if not names:
        return frozenset()
    own = {name: value.clone() for name, value in batch.items()}  # two arguments may be one tensor
    devices = list({value.device for value in own.values() if value.is_cuda})
    with torch.random.fork_rng(devices=devices), torch.no_grad(), poutine.block(hide_types=["sample"]):
        followed = _Followed({name: own[name] for name in names})
        try:
            with followed:
                program(**own)
        except Exception:  # whatever the program raises, it raises again where it is used
            pass
    return frozenset(followed.found)
