"""C statements over the places of tensors, joined into one sweep where they may be."""

from __future__ import annotations

__all__ = ["Code"]

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from .operations import CTYPES, Unsupported
from .values import Value, contiguous

_POINTER = re.compile(r"\b([ab]\d+)\[")
_PLACE = re.compile(r"\b[ab]\d+\[([^\[\]]*)\]")
_WRITTEN = re.compile(r"^([ab]\d+)\[[^=]*\] \+?= ")
_SERIAL = re.compile(r"\b(?:lgamma|erfc?|expm1|pow|tan|atan|floor|ceil|digamma)(?:f|_\w+)?\(")  # one number at a time
_INDIRECT = "inside("  # of a place that is read only if it exists: GCC 12 vectorises such loops wrongly under `ivdep`
_COSTLY = re.compile(r"\b\w+\(")  # a call of a function
_PARALLEL = 40_000  # operations of a loop that repay a second thread
_CHUNK = 8192  # places of a thread at a time: the same numbers in the same lanes, however many threads there are


@dataclass
class _Store:
    """A number that is kept in a variable, and in memory where other loops read it."""

    pointer: str
    place: str
    variable: str


@dataclass
class _Block:
    """Loops over all places of a shape, around lines.

    Attributes:
        index: the loops' variables.
        named: variables by the place in memory that they are stored to.
        simd: what the compiler is told of the innermost loop.
        independent: whether no place needs what another one writes.
    """

    shape: tuple[int, ...]
    index: list[str]
    lines: list[str | _Store] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    simd: str = "GCC ivdep"
    independent: bool = True
    weight: int = 0  # operations at a place

    @property
    def text(self) -> str:
        return "\n".join(line for line in self.lines if isinstance(line, str))


class Code:
    """C statements, and the memory that they need.

    What is computed at the places of one shape goes into one loop, if nothing comes between that it needs: numbers that
    only this loop needs are then in no memory at all.
    """

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.uses: set[str] = set()  # functions of libraries
        self._number = 0
        self._buffers: dict[str, tuple[str, int]] = {}  # pointer: type and bytes
        self._latest: dict[tuple[tuple[int, ...], bool], int] = {}  # the loop of a shape to which may be added
        self._written: dict[str, int] = {}  # pointer: the last block that writes to it
        self._filled: dict[str, int] = {}  # pointer: the last of those that write to places which stores write to again
        self._read: dict[str, int] = {}

    def name(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}{self._number}"

    def allocate(self, shape: Sequence[int], dtype: torch.dtype) -> Value:
        """New memory, which keeps its place."""
        if dtype not in CTYPES:
            raise Unsupported(f"numbers of type {dtype}")
        pointer = self.name("b")
        self._buffers[pointer] = (CTYPES[dtype], max(math.prod(shape), 1) * dtype.itemsize)
        return Value.memory(pointer, shape, dtype, contiguous(shape))

    def loops(
        self,
        shape: Sequence[int],
        body: Callable[[list[str]], list[str]],
        simd: str = "GCC ivdep",
        independent: bool = False,
        weight: int = 1,
    ) -> None:
        """Run `body`, of an index, over all places of `shape`.

        Args:
            independent: whether no place needs what another one writes.
            weight: operations at a place.
        """
        index = ["0" if size == 1 else self.name("i") for size in shape]
        live = {name: size for name, size in zip(index, shape, strict=True) if size != 1}
        lines = list(body(index))
        number = len(self.blocks)
        for line in lines:
            self._read |= dict.fromkeys(_POINTER.findall(line), number)
            if found := _WRITTEN.match(line):
                self._written[found.group(1)] = self._filled[found.group(1)] = number
        self.blocks.append(
            _Block(tuple(live.values()), list(live), [*lines], simd=simd, independent=independent, weight=weight)
        )

    def calls(
        self, shape: Sequence[int], body: Callable[[list[str]], list[str]], reads: Sequence[str], writes: Sequence[str]
    ) -> None:
        """Run `body`, which calls a library on memory at these pointers, over all places of `shape`."""
        number = len(self.blocks)
        self.loops(shape, body, simd="GCC unroll 1")
        self._read |= dict.fromkeys(reads, number)
        self._written |= dict.fromkeys(writes, number)
        self._filled |= dict.fromkeys(writes, number)

    def store(self, value: Value, target: Value | None = None) -> Value:
        """The value, computed into memory (new memory, if no target is given)."""
        kept = target or self.allocate(value.shape, value.dtype)
        assert kept.pointer is not None
        shape = tuple(size for size in value.shape if size != 1)
        names = iter([f"i{dim}" for dim in range(len(shape))])
        index = ["0" if size == 1 else next(names) for size in value.shape]
        text, place = value.load(index), kept.load(index)
        serial = bool(_SERIAL.search(text)) or _INDIRECT in text
        number = self._place_for((shape, serial), text, kept.pointer)
        block = self.blocks[number]
        text = _PLACE.sub(lambda found: block.named.get(found.group(), found.group()), text)
        variable = self.name("v")
        block.lines += [f"const {CTYPES[kept.dtype]} {variable} = {text};", _Store(kept.pointer, place, variable)]
        block.weight += 1 + 8 * len(_COSTLY.findall(text))
        if target is None:
            block.named[place] = variable
        self._written[kept.pointer] = max(number, self._written.get(kept.pointer, 0))
        self._read |= {name: max(number, self._read.get(name, 0)) for name in _POINTER.findall(text)}
        return kept

    def overwrite(self, value: Value, target: Value) -> None:
        """The value, into memory that holds something else already."""
        for block in self.blocks:
            block.named = {place: name for place, name in block.named.items() if place.split("[")[0] != target.pointer}
        self._latest = {}  # what is read before stays before
        self.store(value, target)
        assert target.pointer is not None
        self._filled[target.pointer] = self._written[target.pointer]

    def kept(self, value: Value) -> Value:
        """In memory, through whatever strides."""
        return value if value.pointer is not None else self.store(value)

    def _place_for(self, key: tuple[tuple[int, ...], bool], text: str, target: str) -> int:
        """The block to which a line is added: the latest loop of its shape, if that comes after all that it needs."""
        number = self._latest.get(key)
        if number is not None:
            named = self.blocks[number].named
            rest = {match.group().partition("[")[0] for match in _PLACE.finditer(text) if match.group() not in named}
            rest |= set(_POINTER.findall(_PLACE.sub("", text)))  # around another place
            after = [self._filled.get(target, -1), *(self._written.get(name, -1) for name in rest)]
            if max(after) < number and self._read.get(target, -1) <= number:
                return number
        self._latest[key] = len(self.blocks)
        simd = "GCC unroll 1" if key[1] else "GCC ivdep"
        self.blocks.append(_Block(key[0], [f"i{dim}" for dim in range(len(key[0]))], simd=simd))
        return len(self.blocks) - 1

    def render(self) -> tuple[str, int]:
        """The statements as text, and how many bytes they need at ``space``."""
        places: dict[str, int] = {}
        for block in self.blocks:
            for name in set(re.findall(r"\b[ab]\d+\b", block.text)):
                places[name] = places.get(name, 0) + 1
        bodies = [_written_out(block, places) for block in self.blocks]
        spans: dict[str, tuple[int, int]] = {}
        for number, body in enumerate(bodies):
            for pointer in set(re.findall(r"\bb\d+\b", "\n".join(body))):
                spans[pointer] = (spans.get(pointer, (number, number))[0], number)
        offsets, space = _offsets({name: (*span, self._buffers[name][1]) for name, span in spans.items()})
        lines = []
        for pointer, offset in offsets.items():
            kind = self._buffers[pointer][0]
            lines.append(f"{kind}* {pointer} = ({kind}*)(space + {offset});")
        return "\n".join([*lines, *(line for body in bodies for line in body)]), space


def _offsets(buffers: dict[str, tuple[int, int, int]]) -> tuple[dict[str, int], int]:
    """Places in memory for buffers that are used from one block to another, and how much there must be.

    What is no longer used gives its place to others.
    """
    offsets: dict[str, int] = {}
    living: list[tuple[int, int, int]] = []  # the last block, first byte and byte after the last, by the first byte
    most = 0
    for name, (first, last, size) in sorted(buffers.items(), key=lambda item: item[1][0]):
        living = [each for each in living if each[0] >= first]
        size, offset, number = -(-size // 64) * 64, 0, 0
        while number < len(living) and living[number][1] - offset < size:
            offset = living[number][2]
            number += 1
        living.insert(number, (last, offset, offset + size))
        offsets[name], most = offset, max(most, offset + size)
    return offsets, most


def _written_out(block: _Block, places: dict[str, int]) -> list[str]:
    """The lines of a block, without stores to memory that nobody reads."""
    lines = []
    for line in block.lines:
        if isinstance(line, str):
            lines.append(line)
        elif line.pointer in places or line.pointer.startswith("a"):
            lines.append(f"{line.place} = {line.variable};")
    if all(isinstance(line, str) for line in block.lines) and not lines:
        return []
    live = list(zip(block.index, block.shape, strict=True))
    if not live:
        return ["{", *lines, "}"]
    shared = block.independent and math.prod(block.shape) * block.weight > _PARALLEL
    flat = _flat(block, lines)
    if flat is not None:
        return (
            _chunks(math.prod(block.shape), flat, block.simd)
            if shared
            else _nested([("i", math.prod(block.shape))], flat, block)
        )
    found = _nested(live, lines, block)
    if shared and live[0][1] >= 8 and len(live) > 1:
        return ["#pragma omp parallel for num_threads(threads) if (threads > 1)", *found]
    return found


def _nested(live: list[tuple[str, int]], lines: list[str], block: _Block) -> list[str]:
    found = []
    for number, (name, size) in enumerate(live):
        if number == len(live) - 1:
            found.append(f"#pragma {block.simd}")
        found.append(f"for (long {name} = 0; {name} < {size}; ++{name}) {{")
    return [*found, *lines, *["}"] * len(live)]


def _chunks(count: int, lines: list[str], simd: str) -> list[str]:
    return [
        "#pragma omp parallel for num_threads(threads) if (threads > 1)",
        f"for (long c = 0; c < {count}; c += {_CHUNK}) {{",
        f"long end = c + {_CHUNK} < {count} ? c + {_CHUNK} : {count};",
        f"#pragma {simd}",
        "for (long i = c; i < end; ++i) {",
        *lines,
        "}}",
    ]


def _flat(block: _Block, lines: list[str]) -> list[str] | None:
    """The lines with one index ``i`` over all places, if all memory that they touch is laid out in that order."""
    steps = contiguous(block.shape)
    order = " + ".join(n if s == 1 else f"{n} * {s}" for n, s in zip(block.index, steps, strict=True))
    text = "\n".join(lines)
    inner = {found.group(1) for found in _PLACE.finditer(text)}
    if not inner <= {order, "0"} or any(re.search(rf"\b{name}\b", _PLACE.sub("", text)) for name in block.index):
        return None
    return [_PLACE.sub(lambda found: found.group().replace(f"[{order}]", "[i]"), line) for line in lines]
