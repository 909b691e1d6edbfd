"""Joins and parts of tensors in C."""

from __future__ import annotations

__all__ = ["JOINS"]

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .code import Code
from .operations import Unsupported, constant
from .values import Value
from .views import blank, view, viewed


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


def _triu(code: Code, shape: Any, dtype: torch.dtype, x: Value, diagonal: int = 0) -> Value:
    return Value(
        x.shape, dtype, lambda index: f"({index[-1]} >= {index[-2]} + ({diagonal}) ? {x.load(index)} : 0)", x.work + 1
    )


def _diag_embed(
    code: Code, shape: Any, dtype: torch.dtype, x: Value, offset: int = 0, dim1: int = -2, dim2: int = -1
) -> Value:
    return _inside(code, shape, dtype, x, lambda whole: whole.diagonal(offset, dim1, dim2))


def _diagonal_backward(
    code: Code, shape: Any, dtype: torch.dtype, gradient: Value, sizes: Any, offset: int, dim1: int, dim2: int
) -> Value:
    return _inside(code, shape, dtype, gradient, lambda whole: whole.diagonal(offset, dim1, dim2))


def _flip(code: Code, shape: Any, dtype: torch.dtype, x: Value, dims: Sequence[int]) -> Value:
    turned = {dim % len(x.shape) for dim in dims}

    def load(index: Sequence[str]) -> str:
        places = enumerate(zip(index, x.shape, strict=True))
        return x.load([f"({n - 1} - {i})" if dim in turned and n > 1 else i for dim, (i, n) in places])

    return Value(x.shape, dtype, load, x.work + 1)


def _pad(code: Code, shape: Any, dtype: torch.dtype, x: Value, widths: Sequence[int], number: float = 0) -> Value:
    out, whole = code.allocate(shape, dtype), x
    for count, (before, after) in enumerate(zip(widths[::2], widths[1::2], strict=True)):  # negative ones take away
        dim, size = len(x.shape) - 1 - count, x.shape[len(x.shape) - 1 - count]
        start, length = max(-before, 0), size - max(-before, 0) - max(-after, 0)
        whole = view(code, whole, lambda t, place=(dim, start, length): t.narrow(*place))  # type: ignore[misc]
    layout = blank(out)
    for count, before in enumerate(widths[::2]):
        dim = len(x.shape) - 1 - count
        layout = layout.narrow(dim, max(before, 0), whole.shape[dim])
    text = constant(number or 0, dtype)
    code.loops(out.shape, lambda index: [f"{out.load(index)} = {text};"])
    code.store(whole, viewed(out, layout))
    return out


def _eye(code: Code, shape: Any, dtype: torch.dtype, *_: Any, **__: Any) -> Value:
    one, zero = constant(1, dtype), constant(0, dtype)
    return Value(tuple(shape), dtype, lambda index: f"({index[-2]} == {index[-1]} ? {one} : {zero})", 1)


# (code, shape and type of the result, arguments) -> result
JOINS: dict[str, Callable[..., Value]] = {
    "cat": _cat,
    "stack": _stack,
    "select_backward": _select_backward,
    "slice_backward": _slice_backward,
    "tril": _tril,
    "triu": _triu,
    "diag_embed": _diag_embed,
    "diagonal_backward": _diagonal_backward,
    "flip": _flip,
    "constant_pad_nd": _pad,
    "eye": _eye,
}
