"""Sums, extrema and softmax in C."""

from __future__ import annotations

__all__ = ["REDUCTIONS", "combined", "extreme", "reduced"]

import math
from collections.abc import Callable
from typing import Any

import torch

from .code import Code
from .operations import CTYPES, Unsupported, constant
from .values import Value
from .views import shaped

_CHEAP, _LARGE, _FEW = 4, 20_000, 16  # operations of a number, numbers, results
_LONG_SUM = 2048  # numbers that float32 adds up well


def _dims(value: Value, dims: Any) -> list[int]:
    rank = len(value.shape)
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        return list(range(rank))
    listed = dims if isinstance(dims, (list, tuple)) else [dims]
    return sorted(dim % rank for dim in listed) if rank else []


def reduced(code: Code, value: Value, dims: list[int], kind: str, dtype: torch.dtype) -> Value:
    """Sum (``"+"``) or extremum (``"larger"``, ``"smaller"``) over `dims`, which are kept with size 1."""
    shape = tuple(1 if dim in dims else size for dim, size in enumerate(value.shape))
    out, c = code.allocate(shape, dtype), CTYPES[dtype]
    if dtype == torch.bool or (kind != "+" and 0 in value.shape):
        raise Unsupported("a reduction of such numbers")
    if value.work > _CHEAP and value.count > _LARGE and math.prod(shape) < _FEW:
        value = code.store(value)  # by several threads
    first = "0" if kind == "+" else _extreme(dtype, kind == "larger")
    live = [dim for dim in dims if value.shape[dim] != 1]
    kept = [dim for dim, size in enumerate(shape) if size != 1]
    if live and kept and live[-1] < kept[-1]:  # along rows: the inner loop runs over results
        code.loops(shape, lambda index: [f"{out.load(index)} = {first};"])
        order = [*live, *kept]

        def add(places: list[str]) -> list[str]:
            index = ["0"] * len(shape)
            for dim, place in zip(order, places, strict=True):
                index[dim] = place
            to, number = out.at(index), f"({c})({value.load(index)})"
            return [f"{to} += {number};" if kind == "+" else f"{to} = {kind}_{c}({to}, {number});"]

        code.loops([value.shape[dim] for dim in order], add)
        return out
    inner = live[-1:]
    long = kind == "+" and dtype == torch.float32
    total = "double" if long else c
    part = "double" if long and inner and value.shape[inner[0]] > _LONG_SUM else c

    def fill(index: list[str]) -> list[str]:
        sum_, now = code.name("t"), code.name("t")
        lines = [f"{total} {sum_} = {first};"]
        places = list(index)
        for dim in live[:-1]:
            places[dim] = code.name("i")
            lines.append(f"for (long {places[dim]} = 0; {places[dim]} < {value.shape[dim]}; ++{places[dim]}) {{")
        lines.append(f"{part} {now} = {first};")
        if inner:
            place = places[inner[0]] = code.name("i")
            clause = {"+": "+", "larger": "max", "smaller": "min"}[kind]
            lines += [f"#pragma omp simd reduction({clause}: {now})"] if kind == "+" else []
            lines.append(f"for (long {place} = 0; {place} < {value.shape[inner[0]]}; ++{place})")
        number = f"({part})({value.load(places)})"
        if kind == "+":
            lines += [f"{now} += {number};", f"{sum_} += {now};"]
        else:
            lines += [f"{now} = {kind}_{part}({now}, {number});", f"{sum_} = {kind}_{total}({sum_}, {now});"]
        return [*lines, *["}"] * len(live[:-1]), f"{out.load(index)} = {sum_};"]

    each = (1 + value.work) * math.prod(value.shape[dim] for dim in live)
    code.loops(shape, fill, simd="GCC unroll 1", independent=True, weight=each)
    return out


def _extreme(dtype: torch.dtype, lowest: bool) -> str:
    if dtype.is_floating_point:
        return constant(-math.inf if lowest else math.inf, dtype)
    limits = torch.iinfo(dtype)
    return constant(limits.min + 1 if lowest else limits.max, dtype)


def _sum(code: Code, shape: Any, dtype: torch.dtype, x: Value, dims: Any = None, *_: Any, **__: Any) -> Value:
    return shaped(reduced(code, x, _dims(x, dims), "+", dtype), shape)


def _mean(code: Code, shape: Any, dtype: torch.dtype, x: Value, dims: Any = None, *_: Any, **__: Any) -> Value:
    total = _sum(code, shape, dtype, x, dims)
    number = constant(x.count / max(total.count, 1), dtype)
    return Value(total.shape, dtype, lambda index: f"({total.load(index)} / {number})", 1)


def _amax(code: Code, shape: Any, dtype: torch.dtype, x: Value, dims: Any = None, *_: Any) -> Value:
    return shaped(reduced(code, x, _dims(x, dims), "larger", dtype), shape)


def extreme(code: Code, shape: Any, x: Value, dim: int, kind: str) -> tuple[Value, Value]:
    """The largest (``"max"``) or smallest numbers along a dimension, in tensors of `shape`, and their first places."""
    x = code.kept(x)
    dim, c = dim % max(len(x.shape), 1), CTYPES[x.dtype]
    rest = [size for d, size in enumerate(x.shape) if d != dim]
    out, places = code.allocate(rest, x.dtype), code.allocate(rest, torch.int64)
    best, now, at, k = (code.name(prefix) for prefix in "ttti")
    sign, count = ">" if kind == "max" else "<", x.shape[dim] if x.shape else 1

    def find(index: list[str]) -> list[str]:
        place = [*index[:dim], k if count > 1 else "0", *index[dim:]] if x.shape else []
        return [
            f"{c} {best} = 0;",
            f"long {at} = 0;",
            f"for (long {k} = 0; {k} < {count}; ++{k}) {{",
            f"const {c} {now} = {x.load(place)};",
            f"if ({k} == 0 || {now} {sign} {best} || ({now} != {now} && {best} == {best})) "
            f"{{ {best} = {now}; {at} = {k}; }}",
            "}",
            f"{out.load(index)} = {best};",
            f"{places.load(index)} = {at};",
        ]

    code.loops(rest, find, simd="GCC unroll 1", independent=True, weight=count)
    return shaped(out, shape), shaped(places, shape)


def _max(code: Code, shape: Any, dtype: torch.dtype, x: Value, other: Value | None = None) -> Value:
    return _amax(code, shape, dtype, x) if other is None else combined(dtype, "larger_T({0}, {1})", x, other)


def _min(code: Code, shape: Any, dtype: torch.dtype, x: Value, other: Value | None = None) -> Value:
    return _amin(code, shape, dtype, x) if other is None else combined(dtype, "smaller_T({0}, {1})", x, other)


def _all(code: Code, shape: Any, dtype: torch.dtype, x: Value, dims: Any = None, *_: Any) -> Value:
    return _tested(code, shape, x, dims, "smaller")


def _any(code: Code, shape: Any, dtype: torch.dtype, x: Value, dims: Any = None, *_: Any) -> Value:
    return _tested(code, shape, x, dims, "larger")


def _tested(code: Code, shape: Any, x: Value, dims: Any, kind: str) -> Value:
    truth = Value(x.shape, torch.int32, lambda index: f"(({x.load(index)}) != 0)", x.work + 1)
    found = shaped(reduced(code, truth, _dims(x, dims), kind, torch.int32), shape)
    return Value(found.shape, torch.bool, lambda index: f"({found.load(index)} != 0)", 1)


def _cumsum(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, **_: Any) -> Value:
    return _running(code, shape, dtype, x, dim, "+")


def _cumprod(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, **_: Any) -> Value:
    return _running(code, shape, dtype, x, dim, "*")


def _running(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, sign: str) -> Value:
    x, out = code.kept(x), code.allocate(shape, dtype)
    if not shape:
        return code.store(x, out)
    dim, t, place = dim % len(shape), code.name("t"), code.name("i")

    def run(index: list[str]) -> list[str]:
        at = [*index[:dim], place if shape[dim] > 1 else "0", *index[dim:]]
        lines = [
            f"{CTYPES[dtype]} {t} = {int(sign == '*')};",
            f"for (long {place} = 0; {place} < {shape[dim]}; ++{place}) {{",
        ]
        return [*lines, f"{t} {sign}= {x.load(at)};", f"{out.load(at)} = {t};", "}"]

    code.loops([*shape[:dim], *shape[dim + 1 :]], run, simd="GCC unroll 1", independent=True, weight=shape[dim])
    return out


def _amin(code: Code, shape: Any, dtype: torch.dtype, x: Value, dims: Any = None, *_: Any) -> Value:
    return shaped(reduced(code, x, _dims(x, dims), "smaller", dtype), shape)


def combined(dtype: torch.dtype, text: str, *values: Value) -> Value:
    """An expression of values, in which ``{0}`` is the first, F the suffix of functions and T the type."""
    shape = tuple(torch.broadcast_tensors(*(torch.empty(v.shape, device="meta") for v in values))[0].shape)
    text = text.replace("F(", "f(" if dtype == torch.float32 else "(").replace("_T(", f"_{CTYPES[dtype]}(")
    return Value(
        shape, dtype, lambda index: text.format(*(v.at(index) for v in values)), 4 + sum(v.work for v in values)
    )


def _exponentials(code: Code, x: Value, dims: list[int], dtype: torch.dtype) -> tuple[Value, Value, Value]:
    """Largest values, ``exp(x - largest)`` and its sums."""
    x = code.kept(x) if x.work > 1 else x
    most = reduced(code, x, dims, "larger", dtype)
    most = code.store(combined(dtype, "(isinf({0}) ? 0 : {0})", most))
    powers = code.store(combined(dtype, "expF({0} - {1})", x, most))
    return most, powers, reduced(code, powers, dims, "+", dtype)


def _logsumexp(code: Code, shape: Any, dtype: torch.dtype, x: Value, dims: Any, *_: Any) -> Value:
    most, _powers, total = _exponentials(code, x, _dims(x, dims), dtype)
    return shaped(code.store(combined(dtype, "(logF({0}) + {1})", total, most)), shape)


def _softmax(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, *_: Any) -> Value:
    _most, powers, total = _exponentials(code, x, _dims(x, dim), dtype)
    return code.store(combined(dtype, "({0} / {1})", powers, total))


def _log_softmax(code: Code, shape: Any, dtype: torch.dtype, x: Value, dim: int, *_: Any) -> Value:
    x = code.kept(x)
    most, _powers, total = _exponentials(code, x, _dims(x, dim), dtype)
    return code.store(combined(dtype, "({0} - {1} - logF({2}))", x, most, total))


def _softmax_backward_data(
    code: Code, shape: Any, dtype: torch.dtype, gradient: Value, y: Value, dim: int, *_: Any
) -> Value:
    gradient, y = code.kept(gradient), code.kept(y)
    total = reduced(code, combined(dtype, "({0} * {1})", gradient, y), _dims(y, dim), "+", dtype)
    return code.store(combined(dtype, "({0} * ({1} - {2}))", y, gradient, total))


def _log_softmax_backward_data(
    code: Code, shape: Any, dtype: torch.dtype, gradient: Value, y: Value, dim: int, *_: Any
) -> Value:
    gradient, y = code.kept(gradient), code.kept(y)
    total = reduced(code, gradient, _dims(y, dim), "+", dtype)
    return code.store(combined(dtype, "({0} - expF({1}) * {2})", gradient, y, total))


# (code, shape and type of the result, arguments) -> result
REDUCTIONS: dict[str, Callable[..., Value]] = {
    "sum": _sum,
    "mean": _mean,
    "amax": _amax,
    "amin": _amin,
    "max": _max,
    "min": _min,
    "all": _all,
    "any": _any,
    "cumsum": _cumsum,
    "cumprod": _cumprod,
    "logsumexp": _logsumexp,
    "_softmax": _softmax,
    "_log_softmax": _log_softmax,
    "_softmax_backward_data": _softmax_backward_data,
    "_log_softmax_backward_data": _log_softmax_backward_data,
}
