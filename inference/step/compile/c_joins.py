"""Joins, parts and products of tensors in C."""

from __future__ import annotations

__all__ = ["JOINS"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .c_operations import CTYPES, Unsupported
from .c_reductions import combined, reduced
from .c_values import Code, Value
from .c_views import blank, shaped, viewed

_MOST_PRODUCTS = 4_000_000  # multiplications of a product: above, a library is faster


def _join(code: Code, shape: Any, dtype: torch.dtype, parts: Sequence[Value], dim: int, stacked: bool) -> Value:
    out, start, dim = code.allocate(shape, dtype), 0, dim % len(shape)
    for part in parts:
        if part.shape == (0,) and len(shape) > 1:
            continue
        if part.dtype != dtype:
            raise Unsupported("tensors of different types in one")
        layout = blank(out)
        place = layout.select(dim, start) if stacked else layout.narrow(dim, start, part.shape[dim])
        code.store(part, viewed(out, place))
        start += 1 if stacked else part.shape[dim]
    return out


def _cat(code: Code, shape: Any, dtype: torch.dtype, parts: Sequence[Value], dim: int = 0) -> Value:
    return _join(code, shape, dtype, parts, dim, stacked=False)


def _stack(code: Code, shape: Any, dtype: torch.dtype, parts: Sequence[Value], dim: int = 0) -> Value:
    return _join(code, shape, dtype, parts, dim, stacked=True)


def _inside(code: Code, shape: Any, dtype: torch.dtype, part: Value, where: Callable[[Tensor], Tensor]) -> Value:
    """Zeros, with a value in a part of them."""
    out = code.allocate(shape, dtype)
    code.loops(out.shape, lambda index: [f"{out.load(index)} = 0;"])
    code.store(part, viewed(out, where(blank(out))))
    return out


def _select_backward(
    code: Code, shape: Any, dtype: torch.dtype, gradient: Value, sizes: Any, dim: int, number: int
) -> Value:
    return _inside(code, shape, dtype, gradient, lambda whole: whole.select(dim, number))


def _slice_backward(
    code: Code, shape: Any, dtype: torch.dtype, gradient: Value, sizes: Any, dim: int, start: int, end: int, step: int
) -> Value:
    where = torch.ops.aten.slice.Tensor
    return _inside(code, shape, dtype, gradient, lambda whole: where(whole, dim, start, end, step))


def _tril(code: Code, shape: Any, dtype: torch.dtype, x: Value, diagonal: int = 0) -> Value:
    return Value(
        x.shape, dtype, lambda index: f"({index[-1]} <= {index[-2]} + ({diagonal}) ? {x.load(index)} : 0)", x.work + 1
    )


def _mm(code: Code, shape: Any, dtype: torch.dtype, a: Value, b: Value) -> Value:
    n, m, k = a.shape[0], b.shape[1], a.shape[1]
    if n * m * k > _MOST_PRODUCTS or not dtype.is_floating_point:
        raise Unsupported("a product of large matrices, or of integers")
    a, b, out, c = code.kept(a), code.kept(b), code.allocate((n, m), dtype), CTYPES[dtype]
    if (b.strides[0] <= b.strides[1] and a.strides[1] <= a.strides[0]) or (m == 1 and a.strides[1] == 1):

        def dot(index: list[str]) -> list[str]:
            t, place = code.name("t"), code.name("i")
            return [
                f"{c} {t} = 0;",
                f"#pragma omp simd reduction(+: {t})",
                f"for (long {place} = 0; {place} < {k}; ++{place})",
                f"{t} += {a.load([index[0], place])} * {b.load([place, index[1]])};",
                f"{out.load(index)} = {t};",
            ]

        code.loops((n, m), dot, simd="GCC unroll 1")
        return out
    code.loops((n, m), lambda index: [f"{out.load(index)} = 0;"])
    order = (1, 2, 0) if m == 1 else (0, 1, 2)  # of n, k, m, the last innermost

    def add(places: list[str]) -> list[str]:
        i, q, j = (places[order.index(dim)] for dim in range(3))
        return [f"{out.load([i, j])} += {a.load([i, q])} * {b.load([q, j])};"]

    code.loops([(n, k, m)[dim] for dim in order], add)
    return out


def _column(value: Value) -> Value:
    assert value.pointer is not None
    return Value.memory(value.pointer, (*value.shape, 1), value.dtype, (*value.strides, 1), value.offset)


def _mv(code: Code, shape: Any, dtype: torch.dtype, a: Value, b: Value) -> Value:
    return shaped(_mm(code, None, dtype, a, _column(code.kept(b))), shape)


def _dot(code: Code, shape: Any, dtype: torch.dtype, a: Value, b: Value) -> Value:
    return shaped(reduced(code, combined(dtype, "({0} * {1})", a, b), [0], "+", dtype), shape)


def _addmm(
    code: Code, shape: Any, dtype: torch.dtype, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1
) -> Value:
    if beta != 1 or alpha != 1:
        raise Unsupported("a product with factors")
    c = code.kept(c)
    return combined(dtype, "({0} + {1})", _mm(code, None, dtype, a, b), c)


# (code, shape and type of the result, arguments) -> result
JOINS: dict[str, Callable[..., Value]] = {
    "cat": _cat,
    "stack": _stack,
    "select_backward": _select_backward,
    "slice_backward": _slice_backward,
    "tril": _tril,
    "mm": _mm,
    "mv": _mv,
    "dot": _dot,
    "addmm": _addmm,
}
