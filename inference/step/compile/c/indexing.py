"""Numbers at places that other numbers name, in C. Outside of a tensor is read as no number, and not written."""

from __future__ import annotations

__all__ = ["INDEXING"]

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .code import Code
from .operations import CTYPES, Unsupported, constant
from .values import Value

Places = Callable[[Sequence[str]], list[str]]


def _numbers(value: Any) -> Value:
    if not isinstance(value, Value) or value.dtype not in (torch.int64, torch.int32):
        raise Unsupported(f"an index {getattr(value, 'dtype', value)}")
    return value


def _read(code: Code, shape: Any, dtype: torch.dtype, x: Value, places: Places, tests: Places) -> Value:
    x = code.kept(x) if x.work > 1 else x
    outside = constant(float("nan"), dtype) if dtype.is_floating_point else "0"

    def load(index: Sequence[str]) -> str:
        return f"({' && '.join(tests(index))} ? {x.load(places(index))} : {outside})"

    return Value(tuple(shape), dtype, load, x.work + 4)


def _write(code: Code, x: Value, source: Value, places: Places, tests: Places, shape: Any, sign: str) -> Value:
    out = code.store(x, code.allocate(x.shape, x.dtype))  # memory alone: its numbers do not stay what they are
    kind = CTYPES[x.dtype]

    def put(index: list[str]) -> list[str]:
        t = code.name("t")
        found = [f"const {kind} {t} = {source.at(index)};", f"if ({' && '.join(tests(index))})"]
        return [*found, f"{out.load(places(index))} {sign} {t};"]

    code.loops(shape, put, simd="GCC unroll 1")
    return out


def _wrapped(text: str, size: int) -> str:
    return "0" if size == 1 else f"wrapped({text}, {size})"


def _inside(text: str, size: int) -> str:
    return f"inside({text}, {size})"


def _by_indices(x: Value, indices: Sequence[Any]) -> tuple[Places, Places, tuple[int, ...]]:
    """Places of ``x[indices]``, their tests, and its shape."""
    live = [dim for dim, item in enumerate(indices) if item is not None]
    named = {dim: _numbers(indices[dim]) for dim in live}
    common = tuple(torch.broadcast_shapes(*(value.shape for value in named.values())))
    adjacent = live == list(range(live[0], live[-1] + 1))
    first = live[0] if adjacent else 0
    rest = [size for dim, size in enumerate(x.shape) if dim not in named]
    shape = (*rest[:first], *common, *rest[first:])

    def places(index: Sequence[str]) -> list[str]:
        inner, others = index[first : first + len(common)], [*index[:first], *index[first + len(common) :]]
        numbers = iter(others)
        return [
            _wrapped(named[dim].at(inner), size) if dim in named else next(numbers) for dim, size in enumerate(x.shape)
        ]

    def tests(index: Sequence[str]) -> list[str]:
        inner = index[first : first + len(common)]
        return [_inside(value.at(inner), x.shape[dim]) for dim, value in named.items()]

    return places, tests, shape


def _index(code: Code, shape: Any, dtype: torch.dtype, x: Value, indices: Sequence[Any]) -> Value:
    indices = _cheap(code, indices)
    places, tests, _ = _by_indices(x, indices)
    return _read(code, shape, dtype, x, places, tests)


def _index_put(
    code: Code, shape: Any, dtype: torch.dtype, x: Value, indices: Sequence[Any], source: Value, add: bool = False
) -> Value:
    indices = _cheap(code, indices)
    places, tests, whole = _by_indices(x, indices)
    return _write(code, x, source, places, tests, whole, "+=" if add else "=")


def _cheap(code: Code, indices: Sequence[Any]) -> list[Any]:
    return [code.kept(item) if isinstance(item, Value) and item.work > 1 else item for item in indices]


def _along(x: Value, dim: int, number: Value) -> tuple[Places, Places]:
    dim = dim % max(len(x.shape), 1)

    def places(index: Sequence[str]) -> list[str]:
        return [_wrapped(number.at(index), size) if d == dim else index[d] for d, size in enumerate(x.shape)]

    return places, lambda index: [_inside(number.at(index), x.shape[dim])]


def _gather(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, number: Value, **_: Any) -> Value:
    return _read(code, shape, dtype, x, *_along(x, dim, code.kept(_numbers(number))))


def _index_select(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, number: Value) -> Value:
    return _index(code, shape, dtype, x, [None] * (dim % len(x.shape)) + [number])


def _embedding(code: Code, shape: Any, dtype: torch.dtype, weight: Value, number: Value, *_: Any, **__: Any) -> Value:
    return _index(code, shape, dtype, weight, [number])


def _scatter(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, number: Value, source: Any) -> Value:
    return _scattered(code, x, dim, number, source, "=")


def _scatter_add(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, number: Value, source: Value) -> Value:
    return _scattered(code, x, dim, number, source, "+=")


def _scattered(code: Code, x: Value, dim: int, number: Value, source: Any, sign: str) -> Value:
    number = code.kept(_numbers(number))
    if not isinstance(source, Value):
        text = constant(source, x.dtype)
        source = Value((), x.dtype, lambda index: text)
    elif any(size < least for size, least in zip(source.shape, number.shape, strict=True)):
        raise Unsupported("a source that is smaller than its places")
    return _write(code, x, source, *_along(x, dim, number), number.shape, sign)


# (code, shape and type of the result, arguments) -> result
INDEXING: dict[str, Callable[..., Value]] = {
    "index": _index,
    "index_put": _index_put,
    "gather": _gather,
    "index_select": _index_select,
    "embedding": _embedding,
    "scatter": _scatter,
    "scatter_add": _scatter_add,
}
