"""Views of values: the same memory through other strides, or the same expression at other places."""

from __future__ import annotations

__all__ = ["blank", "shaped", "view", "viewed"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .code import Code
from .values import Value, contiguous


def blank(value: Value) -> Tensor:
    """A tensor without numbers that is laid out as a value."""
    strides = value.strides if value.pointer is not None else contiguous(value.shape)
    last = sum((size - 1) * stride for size, stride in zip(value.shape, strides, strict=True) if size)
    whole = torch.empty(value.offset + last + 1, dtype=value.dtype, device="meta")
    return whole.as_strided(value.shape, strides, value.offset)


def viewed(value: Value, tensor: Tensor) -> Value:
    """The value of which `tensor` is the layout, in the memory of `value`."""
    assert value.pointer is not None
    return Value.memory(value.pointer, tuple(tensor.shape), value.dtype, tensor.stride(), int(tensor.storage_offset()))


def view(code: Code, value: Value, function: Callable[[Tensor], Tensor]) -> Value:
    """A view of a value."""
    if value.pointer is None:
        layout = function(blank(value))
        if (found := _reindexed(value, layout)) is not None:
            return found
        value = code.store(value)
    try:
        return viewed(value, function(blank(value)))
    except RuntimeError:  # these strides cannot be viewed so
        value = code.store(value)
        return viewed(value, function(blank(value)))


def _reindexed(value: Value, layout: Tensor) -> Value | None:
    """An expression at other places, if each index of the layout moves along one index of the value."""
    steps, start, rest = contiguous(value.shape), [], layout.storage_offset()
    for step, size in zip(steps, value.shape, strict=True):
        start.append(rest // step % max(size, 1))
    sources: list[tuple[int, int] | None] = []
    for size, stride in zip(layout.shape, layout.stride(), strict=True):
        if size == 1 or stride == 0:
            sources.append(None)
            continue
        fits = [
            (dim, stride // step)
            for dim, (step, own) in enumerate(zip(steps, value.shape, strict=True))
            if own > 1 and stride % step == 0 and start[dim] + (size - 1) * (stride // step) < own
        ]
        if not fits or any(source is not None and source[0] == fits[0][0] for source in sources):
            return None
        sources.append(fits[0])

    def load(index: Sequence[str]) -> str:
        places = [str(number) for number in start]
        for place, source in zip(index, sources, strict=True):
            if source is not None and place != "0":
                dim, factor = source
                moved = place if factor == 1 else f"({place} * {factor})"
                places[dim] = moved if start[dim] == 0 else f"({moved} + {start[dim]})"
        return value.load(places)

    return Value(tuple(layout.shape), value.dtype, load, value.work)


def shaped(value: Value, shape: Sequence[int]) -> Value:
    """Memory without gaps under another shape."""
    assert value.pointer is not None
    return Value.memory(value.pointer, tuple(shape), value.dtype, contiguous(shape), value.offset)
