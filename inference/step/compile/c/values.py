"""What a node of a graph is in C: memory that is read through strides, or an expression that is computed where used."""

from __future__ import annotations

__all__ = ["Value", "contiguous"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Index = Sequence[str]


@dataclass(frozen=True)
class Value:
    """A tensor.

    Attributes:
        shape: of it.
        dtype: of its numbers.
        load: the C expression of the number at an index (C expressions, one a dimension).
        work: operations of that expression; 0 for memory.
        pointer: the variable that points to its memory, if it has any; with `strides` and `offset` in numbers.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[Index], str]
    work: int = 0
    pointer: str | None = None
    strides: tuple[int, ...] = ()
    offset: int = 0

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @classmethod
    def memory(
        cls, pointer: str, shape: Sequence[int], dtype: torch.dtype, strides: Sequence[int], offset: int = 0
    ) -> Value:
        """Numbers in memory."""

        def load(index: Index) -> str:
            terms = [str(offset)] if offset else []
            for place, size, stride in zip(index, shape, strides, strict=True):
                if size != 1 and stride and place != "0":
                    terms.append(place if stride == 1 else f"{place} * {stride}")
            return f"{pointer}[{' + '.join(terms) or '0'}]"

        return cls(tuple(shape), dtype, load, 0, pointer, tuple(strides), offset)

    def at(self, index: Index) -> str:
        """The number that stands at `index` of a larger shape which this one is broadcast to."""
        own = index[len(index) - len(self.shape) :] if self.shape else ()
        return self.load(["0" if size == 1 else place for place, size in zip(own, self.shape, strict=True)])


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor without gaps."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))
