"""Products of matrices in C: small ones as loops, large ones by the library that torch itself calls."""

from __future__ import annotations

__all__ = ["PRODUCTS"]

from collections.abc import Callable
from typing import Any

import torch

from .code import Code
from .operations import CTYPES, Unsupported
from .reductions import combined, reduced
from .values import Value
from .views import blank, shaped, viewed

_LOOPS = 30_000  # multiplications up to which loops are as fast as a library
_LOOPS_OF_VECTORS = 300_000  # the same where the result is one column


def _product(code: Code, dtype: torch.dtype, a: Value, b: Value) -> Value:
    """``(…, n, k)`` times ``(…, k, m)``, with the same leading dimensions."""
    if not dtype.is_floating_point or a.dtype != dtype or b.dtype != dtype:
        raise Unsupported("a product of integers, or of different types")
    batch, n, k, m = a.shape[:-2], a.shape[-2], a.shape[-1], b.shape[-1]
    a, b = code.kept(a), code.kept(b)
    out = code.allocate((*batch, n, m), dtype)
    if n * m * k > (_LOOPS_OF_VECTORS if 1 in (n, m) else _LOOPS):
        _by_library(code, out, _laid_out(code, a), _laid_out(code, b))
    elif (b.strides[-2] <= b.strides[-1] and a.strides[-1] <= a.strides[-2]) or (m == 1 and a.strides[-1] == 1):
        _by_dots(code, out, a, b)
    else:
        _by_rows(code, out, a, b)
    return out


def _by_dots(code: Code, out: Value, a: Value, b: Value) -> None:
    k, c = a.shape[-1], CTYPES[out.dtype]

    def dot(index: list[str]) -> list[str]:
        t, place = code.name("t"), code.name("i")
        *batch, row, column = index
        return [
            f"{c} {t} = 0;",
            f"#pragma omp simd reduction(+: {t})",
            f"for (long {place} = 0; {place} < {k}; ++{place})",
            f"{t} += {a.load([*batch, row, place])} * {b.load([*batch, place, column])};",
            f"{out.load(index)} = {t};",
        ]

    code.loops(out.shape, dot, simd="GCC unroll 1", independent=True, weight=k)


def _by_rows(code: Code, out: Value, a: Value, b: Value) -> None:
    n, k, m = a.shape[-2], a.shape[-1], b.shape[-1]
    code.loops(out.shape, lambda index: [f"{out.load(index)} = 0;"])
    order = (1, 2, 0) if m == 1 else (0, 1, 2)  # of n, k, m, the last innermost

    def add(places: list[str]) -> list[str]:
        batch, inner = places[:-3], places[-3:]
        i, q, j = (inner[order.index(dim)] for dim in range(3))
        return [f"{out.load([*batch, i, j])} += {a.load([*batch, i, q])} * {b.load([*batch, q, j])};"]

    code.loops([*out.shape[:-2], *((n, k, m)[dim] for dim in order)], add)


def _laid_out(code: Code, x: Value) -> Value:
    """A matrix that a library can read: one of the last two dimensions without gaps, in a copy if need be."""
    rows, columns = x.strides[-2:]
    n, m = x.shape[-2:]
    plain = (columns == 1 or m == 1) and (rows >= m or n == 1)
    turned = (rows == 1 or n == 1) and (columns >= n or m == 1)
    if plain or turned:
        return x
    return code.store(x)


def _by_library(code: Code, out: Value, a: Value, b: Value) -> None:
    kind = CTYPES[out.dtype]
    code.uses.add(f"gemm_{kind}")
    n, k, m = a.shape[-2], a.shape[-1], b.shape[-1]

    def matrix(x: Value, batch: list[str]) -> str:
        rows, columns = x.strides[-2:]
        turned = not ((columns == 1 or x.shape[-1] == 1) and (rows >= x.shape[-1] or x.shape[-2] == 1))
        step = columns if turned else rows
        least = x.shape[-2] if turned else x.shape[-1]
        return f"&{x.load([*batch, '0', '0'])}, {max(step, least)}L, {int(turned)}"

    def call(batch: list[str]) -> list[str]:
        target = out.load([*batch, "0", "0"])
        return [f"product_{kind}({n}L, {m}L, {k}L, {matrix(a, batch)}, {matrix(b, batch)}, &{target});"]

    pointers = [value.pointer for value in (a, b) if value.pointer is not None]
    assert out.pointer is not None
    code.calls(out.shape[:-2], call, pointers, [out.pointer])


def _mm(code: Code, shape: Any, dtype: torch.dtype, a: Value, b: Value) -> Value:
    return _product(code, dtype, a, b)


def _mv(code: Code, shape: Any, dtype: torch.dtype, a: Value, b: Value) -> Value:
    b = code.kept(b)
    return shaped(_product(code, dtype, a, viewed(b, blank(b).unsqueeze(-1))), shape)


def _dot(code: Code, shape: Any, dtype: torch.dtype, a: Value, b: Value) -> Value:
    return shaped(reduced(code, combined(dtype, "({0} * {1})", a, b), [0], "+", dtype), shape)


def _addmm(
    code: Code, shape: Any, dtype: torch.dtype, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1
) -> Value:
    if beta != 1 or alpha != 1:
        raise Unsupported("a product with factors")
    c = code.kept(c)
    return combined(dtype, "({0} + {1})", _product(code, dtype, a, b), c)


# (code, shape and type of the result, arguments) -> result
PRODUCTS: dict[str, Callable[..., Value]] = {
    "mm": _mm,
    "bmm": _mm,
    "mv": _mv,
    "dot": _dot,
    "addmm": _addmm,
    "baddbmm": _addmm,
}
