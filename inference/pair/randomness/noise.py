"""Random draws as an input of the program: recorded once, then replayed from a tensor.

A fit draws the standard noise of many steps in one call, as a pure function of (seed, step), and every way of running a
step (eager, traced, compiled, captured) reads the same numbers. The same interception makes Pyro's in-place draws safe
under :func:`torch.vmap`.
"""

from __future__ import annotations

__all__ = ["Draw", "Noise", "NoiseLayout", "record_noise", "replay_noise", "vmap_safe_noise", "witness_draws"]

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from .draws import Draws, native
from .rewrites import NORMAL, UNIFORM
from .witness import Witness


@dataclass(frozen=True)
class Draw:
    """One call of a random generator: which base noise it needs and in what shape."""

    kind: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass
class NoiseLayout:
    """Every draw of one run of a program, in order: how much base noise one particle needs.

    Attributes:
        draws: the draws in program order.
        opaque: operations that draw and cannot be lifted out of the program: those whose distribution depends on
            parameters (Gamma, Poisson, …), and those inside of others (dropout in an LSTM). A program with opaque draws
            takes them from torch's generator in its step.
        private: operations that draw from a generator of the program's own, which nobody else can seed.
    """

    draws: list[Draw] = field(default_factory=list)
    opaque: list[str] = field(default_factory=list)
    private: list[str] = field(default_factory=list)

    def size(self, kind: str) -> int:
        return sum(draw.numel for draw in self.draws if draw.kind == kind)

    @property
    def normals(self) -> int:
        return self.size(NORMAL)

    @property
    def uniforms(self) -> int:
        return self.size(UNIFORM)


@dataclass(frozen=True)
class Noise:
    """Base noise for `K` particles: ``normal (K, M)`` and ``uniform (K, U)``; either may have no columns."""

    normal: torch.Tensor
    uniform: torch.Tensor

    def after(self, normals: int, uniforms: int) -> Noise:
        """What is left when each particle has read so many numbers."""
        return Noise(self.normal[:, normals:], self.uniform[:, uniforms:])


def vmap_safe_noise() -> Draws:
    """Draw from the generator, out of place, so that ``vmap(randomness="different")`` gives each particle its own."""
    return Draws(native)


@contextmanager
def record_noise(layout: NoiseLayout) -> Iterator[None]:
    """Draw from the generator and append every draw of the block to `layout`."""
    witness = witness_draws(layout)

    def supply(kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        layout.draws.append(Draw(kind, shape))
        with witness.aside():
            return native(kind, shape, dtype, device)

    with witness, Draws(supply):
        yield


def witness_draws(layout: NoiseLayout) -> Witness:
    """Note every draw of the block as opaque: it is not made from base noise when the program is run again."""
    return Witness(layout.opaque.append, layout.private.append)


@contextmanager
def replay_noise(normal: torch.Tensor, uniform: torch.Tensor) -> Iterator[None]:
    """Read the block's draws from the flat ``normal (M,)`` and ``uniform (U,)``, in order.

    Raises:
        IndexError: if the block draws more than was supplied (a program whose shapes change from run to run).
    """
    position = {NORMAL: 0, UNIFORM: 0}
    source = {NORMAL: normal, UNIFORM: uniform}

    def supply(kind: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        start, count = position[kind], math.prod(shape)
        if start + count > source[kind].shape[-1]:
            raise IndexError(f"The program drew more {kind} noise than the {source[kind].shape[-1]} numbers recorded.")
        position[kind] = start + count
        return source[kind].narrow(-1, start, count).reshape(shape).to(dtype)

    with Draws(supply):
        yield
