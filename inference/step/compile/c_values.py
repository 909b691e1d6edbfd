"""What a node of a graph is in C: memory that is read through strides, or an expression that is computed where used."""

from __future__ import annotations

__all__ = ["Code", "Value"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from .c_operations import CTYPES, Unsupported

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


@dataclass
class Code:
    """C statements, and the memory that they need."""

    lines: list[str] = field(default_factory=list)
    space: int = 0  # bytes
    _number: int = 0

    def name(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}{self._number}"

    def allocate(self, shape: Sequence[int], dtype: torch.dtype) -> Value:
        """New memory, which keeps its place."""
        if dtype not in CTYPES:
            raise Unsupported(f"numbers of type {dtype}")
        pointer = self.name("b")
        kind = CTYPES[dtype]
        self.lines.append(f"{kind}* restrict {pointer} = ({kind}*)(space + {self.space});")
        self.space += -(-max(math.prod(shape), 1) * dtype.itemsize // 64) * 64
        return Value.memory(pointer, shape, dtype, contiguous(shape))

    def loops(self, shape: Sequence[int], body: Callable[[list[str]], list[str]], simd: str = "GCC ivdep") -> None:
        """Run `body`, of an index, over all places of `shape`."""
        index = ["0" if size == 1 else self.name("i") for size in shape]
        live = [(place, size) for place, size in zip(index, shape, strict=True) if size != 1]
        for number, (place, size) in enumerate(live):
            if number == len(live) - 1:
                self.lines.append(f"#pragma {simd}")
            self.lines.append(f"for (long {place} = 0; {place} < {size}; ++{place}) {{")
        self.lines += body(index)
        self.lines += ["}"] * len(live)

    def store(self, value: Value, target: Value | None = None) -> Value:
        """The value, computed into memory (new memory, if no target is given)."""
        kept = target or self.allocate(value.shape, value.dtype)
        self.loops(value.shape, lambda index: [f"{kept.load(index)} = {value.load(index)};"])
        return kept

    def kept(self, value: Value) -> Value:
        """In memory, through whatever strides."""
        return value if value.pointer is not None else self.store(value)
