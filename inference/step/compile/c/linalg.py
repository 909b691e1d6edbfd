"""Triangular systems and Cholesky factors of small matrices in C."""

from __future__ import annotations

__all__ = ["LINALG", "cholesky"]

from collections.abc import Callable
from typing import Any

import torch

from .code import Code
from .operations import CTYPES, Unsupported
from .values import Value
from .views import blank, viewed

_MOST = 4_000_000  # multiplications of one system: above, a library is faster


def _solve_triangular(
    code: Code,
    shape: Any,
    dtype: torch.dtype,
    a: Value,
    b: Value,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Value:
    out = code.allocate(shape, dtype)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (viewed(kept, blank(kept).expand(*batch, -1, -1)) for kept in (code.kept(a), code.kept(b)))
    x = out
    if not left:  # X A = B is A' X' = B'
        a, b, x, upper = _turned(a), _turned(b), _turned(x), not upper
    n, m, c = x.shape[-2], x.shape[-1], CTYPES[dtype]
    if n * n * m > _MOST:
        raise Unsupported("a large triangular system")
    r, q, col, f = (code.name(prefix) for prefix in "iiit")

    def row(number: str) -> str:
        return f"({n - 1} - {number})" if upper else number

    def solve(batch: list[str]) -> list[str]:
        column = col if m > 1 else "0"

        def at(value: Value, i: str, j: str) -> str:
            return value.load([*batch, i, j])

        here, there = row(r), row(q)
        each = f"for (long {col} = 0; {col} < {m}; ++{col}) {{"
        lines = [f"for (long {r} = 0; {r} < {n}; ++{r}) {{"]
        if m > 3:
            lines += [each, f"{at(x, here, column)} = {at(b, here, column)};", "}"]
            lines += [f"for (long {q} = 0; {q} < {r}; ++{q}) {{", f"const {c} {f} = {at(a, here, there)};"]
            lines += ["#pragma GCC ivdep", each, f"{at(x, here, column)} += -{f} * {at(x, there, column)};", "}", "}"]
            if not unitriangular:
                lines += [each, f"{at(x, here, column)} = {at(x, here, column)} / {at(a, here, here)};", "}"]
            return [*lines, "}"]
        lines += [each, f"{c} {f} = 0;", f"#pragma omp simd reduction(+: {f})"]
        lines += [f"for (long {q} = 0; {q} < {r}; ++{q})", f"{f} += {at(a, here, there)} * {at(x, there, column)};"]
        found = f"({at(b, here, column)} - {f})" + ("" if unitriangular else f" / {at(a, here, here)}")
        return [*lines, f"{at(x, here, column)} = {found};", "}", "}"]

    code.loops(x.shape[:-2], solve, simd="GCC unroll 1", independent=True, weight=n * n * m)
    return out


def cholesky(code: Code, a: Value, upper: bool = False) -> tuple[Value, Value]:
    """Factors of matrices ``(…, n, n)``, and the number of the first leading minor that is not positive (0: none)."""
    a = code.kept(a)
    n, c = a.shape[-1], CTYPES[a.dtype]
    if n**3 > _MOST:
        raise Unsupported("a large matrix")
    out, info = code.allocate(a.shape, a.dtype), code.allocate(a.shape[:-2], torch.int32)
    factor = _turned(out) if upper else out
    i, j, k, t = (code.name(prefix) for prefix in "iiit")

    def factorise(batch: list[str]) -> list[str]:
        def at(value: Value, row: str, column: str) -> str:
            return value.load([*batch, row, column])

        failed = info.load(batch)
        return [
            f"{failed} = 0;",
            f"for (long {i} = 0; {i} < {n}; ++{i}) {{",
            f"for (long {j} = 0; {j} < {n}; ++{j}) {{",
            f"{c} {t} = 0;",
            f"if ({j} <= {i}) {{",
            f"#pragma omp simd reduction(+: {t})",
            f"for (long {k} = 0; {k} < {j}; ++{k})",
            f"{t} += {at(factor, i, k)} * {at(factor, j, k)};",
            f"{t} = {at(a, i, j)} - {t};",
            f"if ({i} == {j} && !({t} > 0) && !{failed})",
            f"{failed} = {i} + 1;",
            f"{t} = {i} == {j} ? sqrt({t}) : {t} / {at(factor, j, j)};",
            "}",
            f"{at(factor, i, j)} = {t};",
            "}",
            "}",
        ]

    code.loops(a.shape[:-2], factorise, simd="GCC unroll 1", independent=True, weight=n**3)
    return out, info


def _turned(value: Value) -> Value:
    return viewed(value, blank(value).mT)


# (code, shape and type of the result, arguments) -> result
LINALG: dict[str, Callable[..., Value]] = {"linalg_solve_triangular": _solve_triangular}
