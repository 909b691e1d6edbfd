"""Cut a (particles x data) rectangle into pieces that fit in a given memory."""

from __future__ import annotations

__all__ = [
    "Chunks",
    "Cost",
    "chunk_seed",
    "measure_cost",
    "most_bytes",
    "peak_bytes",
    "plan_chunks",
    "return_free_memory",
]

import ctypes
import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...errors import ConfigurationError
from ...options import check_count
from ...seeding import derive_seed

CPU_BYTES = 32 * 2**20  # measured: more runs slower, away from the caches, and less has too much overhead
CUDA_BYTES = 4 * 2**30
_LEAST = 32.0  # bytes per pair: a few numbers, whatever was measured


def most_bytes(max_bytes: int | None, device: torch.device) -> int:
    """`max_bytes`, checked; by default 32 MiB on a CPU, 4 GiB on a GPU: above that a larger piece brings no speed."""
    if max_bytes is not None:
        return check_count("max_bytes", max_bytes)
    return CUDA_BYTES if device.type == "cuda" else CPU_BYTES


def chunk_seed(seed: int, *position: int) -> int:
    """A seed of its own for each piece, a pure function of (seed, position); zeros and the number of indices count."""
    if seed < 0:
        raise ConfigurationError(f"`seed` must be a non-negative integer, got {seed}.")
    return derive_seed(seed, "chunk", *position)


@dataclass(frozen=True)
class Chunks:
    """At most ``particles x data`` at once; ``num_particles x data_size`` in all."""

    particles: int
    data: int
    num_particles: int
    data_size: int

    def over_particles(self) -> Iterator[tuple[int, int]]:
        """``(index, how many)`` of each piece of the particles."""
        for i, start in enumerate(range(0, self.num_particles, self.particles)):
            yield i, min(self.particles, self.num_particles - start)

    def over_data(self) -> Iterator[tuple[int, slice]]:
        """``(index, rows)`` of each piece of the data."""
        for j, start in enumerate(range(0, self.data_size, self.data)):
            yield j, slice(start, min(start + self.data, self.data_size))


@dataclass(frozen=True)
class Cost:
    """Bytes that an evaluation holds at its peak: ``per_particle K + per_datum B + per_pair K B``."""

    per_particle: float
    per_datum: float
    per_pair: float

    def of_repeated(self, inner: int) -> Cost:
        """The cost when each particle stands for `inner` of them."""
        return Cost(self.per_particle * inner, self.per_datum, self.per_pair * inner)

    def __call__(self, particles: int, data: int) -> float:
        return self.per_particle * particles + self.per_datum * data + self.per_pair * particles * data


def plan_chunks(cost: Cost, num_particles: int, data_size: int, max_bytes: int) -> Chunks:
    """The largest pieces within `max_bytes`: all particles of a few data where possible, so that what is computed once
    per datum (the encoder) is computed once; else as many particles as fit for a single datum, but at least one.
    """
    if cost(num_particles, 1) <= max_bytes:
        particles = num_particles
        spare = max_bytes - cost.per_particle * particles
        data = int(spare // max(cost.per_datum + cost.per_pair * particles, 1e-9))
    else:
        particles = int((max_bytes - cost.per_datum) // max(cost.per_particle + cost.per_pair, 1e-9))
        data = 1
    return Chunks(_even(num_particles, particles), _even(data_size, data), num_particles, data_size)


def _even(total: int, most: int) -> int:
    """The size of the pieces when `total` is cut as evenly as can be into pieces of at most `most`."""
    pieces = -(-total // max(1, min(most, total)))
    return -(-total // pieces)


def measure_cost(run: Callable[[int, slice], Any], num_particles: int, data_size: int) -> Cost:
    """The cost of `run(particles, rows)`, from its peak memory at the four corners of a small rectangle.

    Memory is bilinear in particles and data, and what the program holds anyway (parameters, the data) cancels. On every
    device this counts tensors, not the allocator's caches, so that the same run always gets the same pieces.
    """
    k0, k1 = min(2, num_particles), min(4, num_particles)
    b0, b1 = min(2, data_size), min(4, data_size)
    corners = dict.fromkeys((k, b) for k in (k0, k1) for b in (b0, b1))
    peak = {(k, b): peak_bytes(run, k, slice(0, b)) for k, b in corners}
    low = peak[k0, b0]
    if k0 == k1 and b0 == b1:
        return Cost(0.0, 0.0, max(low / (k0 * b0), _LEAST))
    if b0 == b1:
        pair = max((peak[k1, b0] - low) / ((k1 - k0) * b0), _LEAST)
        return Cost(0.0, max(low / b0 - pair * k0, 0.0), pair)
    if k0 == k1:
        pair = max((peak[k0, b1] - low) / ((b1 - b0) * k0), _LEAST)
        return Cost(max(low / k0 - pair * b0, 0.0), 0.0, pair)
    dk, db = k1 - k0, b1 - b0
    pair = max((peak[k1, b1] - peak[k1, b0] - peak[k0, b1] + low) / (dk * db), _LEAST)
    particle = max((peak[k1, b0] - low) / dk - pair * b0, 0.0)
    datum = max((peak[k0, b1] - low) / db - pair * k0, 0.0)
    return Cost(particle, datum, pair)


def peak_bytes(run: Callable[..., Any], *args: Any) -> int:
    """The most bytes of tensors, made while `run(*args)` was running, that were alive at one time."""
    counter = _LiveBytes()
    with counter:
        run(*args)
    return counter.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of every storage that an operation returns, until the storage is freed."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled in here: do not import the compiler (1.4 s, 150 MB) to say so

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, size).atexit = False

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def return_free_memory() -> None:
    """Give freed memory back to the system, where the C library keeps it (glibc).

    Pieces of many sizes leave its heap in fragments that it neither reuses nor returns by itself: scoring 10,000 images
    grew to several times the memory in use.
    """
    trim = getattr(_c_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


@functools.cache
def _c_library() -> Any:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # no such thing on this platform
        return None
