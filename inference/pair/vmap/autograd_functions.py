"""Custom autograd functions that state no rule for vmap, run inside it: particle by particle, and nothing else is."""

from __future__ import annotations

__all__ = ["autograd_functions"]

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

import torch
from torch.autograd import Function

from ..randomness.draws import present_draws

_ELEMENTWISE = frozenset({"pyro.ops.special._SafeLog"})  # as good on all particles at once


_OWN = vars(Function)["apply"]

_marker: ContextVar[torch.Tensor | None] = ContextVar("marker", default=None)
_lock, _inside = Lock(), 0


@contextmanager
def autograd_functions(marker: torch.Tensor) -> Iterator[None]:
    r"""Inside, ``F.apply(x)`` of K particles is ``stack([F.apply(x[k]) for k in range(K)])``, with its gradient.

    :func:`torch.vmap` runs a :class:`torch.autograd.Function` only if it has a `setup_context`, and a `vmap` or
    ``generate_vmap_rule = True``. Those that have are left to it; of the others, old ones without a `setup_context` as
    well, the call alone is a loop. Pyro's `safe_log`, in every `DiscreteHMM`, acts on each number by itself and needs
    none.

    Args:
        marker: any tensor that vmap has split into particles, so that a function whose arguments it has not split is
            met as well.

    Raises:
        RuntimeError: inside, with ``vmap`` in its message, for a function that draws, that changes its arguments, or
            that is differentiated by `torch.func` too.
    """
    global _inside
    token = _marker.set(marker)
    with _lock:  # fits of other threads may be inside as well
        _inside += 1
        Function.apply = classmethod(_apply)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        _marker.reset(token)
        with _lock:
            _inside -= 1
            if not _inside:
                Function.apply = _OWN  # type: ignore[assignment, method-assign]


def _apply(kind: Any, *args: Any, **kwargs: Any) -> Any:
    marker = _marker.get()
    known = kind.generate_vmap_rule or kind.vmap is not Function.vmap
    if known or kwargs or marker is None or not _is_split(marker):
        return _call(kind, *args, **kwargs)
    return _call(_Looped, kind, marker, *args)


def _call(kind: Any, *args: Any, **kwargs: Any) -> Any:
    """``kind.apply(*args)`` as torch has it."""
    return _OWN.__get__(None, kind)(*args, **kwargs)


class _Looped(Function):
    """A function, given as the first argument, one particle after the other; the second is the marker."""

    @staticmethod
    def forward(kind: Any, marker: Any, *args: Any) -> Any:
        raise RuntimeError(f"vmap: `{kind.__name__}` is differentiated by `torch.func` inside of the program")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, kind: Any, marker: torch.Tensor, *args: Any) -> Any:
        dims, draws = in_dims[2:], present_draws()
        before = draws.count
        try:
            with draws:  # torch has left all modes when it asks for a rule
                return _of_particles(kind, info.batch_size, dims, args)
        finally:
            if draws.count != before:
                raise RuntimeError(f"vmap: `{kind.__name__}` draws random numbers")


def _of_particles(kind: Any, count: int, dims: tuple[Any, ...], args: tuple[Any, ...]) -> tuple[Any, Any]:
    """What the function makes of `count` particles, which are along these dimensions of its arguments."""
    if any(isinstance(dim, (tuple, list, dict)) for dim in dims):
        raise RuntimeError(f"vmap: `{kind.__name__}` is given particles inside of a list")
    if all(dim is None for dim in dims):
        out = _call(kind, *args)
        return out, (None,) * len(out) if isinstance(out, tuple) else None
    if f"{kind.__module__}.{kind.__qualname__}" in _ELEMENTWISE:
        return _call(kind, *args), dims[0]
    rows = []
    for k in range(count):
        given = [x if dim is None else x.select(dim, k) for x, dim in zip(args, dims, strict=True)]
        rows.append(_call(kind, *given))
        if any(part is x for part in _parts(rows[-1]) for x in given if isinstance(x, torch.Tensor)):
            raise RuntimeError(f"vmap: `{kind.__name__}` changes its argument")
    return _stacked(rows)


def _is_split(tensor: torch.Tensor) -> bool:
    return bool(torch._C._functorch.is_batchedtensor(tensor))  # type: ignore[attr-defined]


def _parts(out: Any) -> tuple[Any, ...]:
    return out if isinstance(out, tuple) else (out,)


def _stacked(rows: list[Any]) -> tuple[Any, Any]:
    """What the particles returned, as one value with the dimension of its particles; what is no tensor, as it is."""
    if not isinstance(rows[0], tuple):
        return (torch.stack(rows), 0) if isinstance(rows[0], torch.Tensor) else (rows[0], None)
    columns = [_stacked(list(column)) for column in zip(*rows, strict=True)]
    return tuple(out for out, _ in columns), tuple(dim for _, dim in columns)
