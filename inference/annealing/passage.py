"""Particles on their way along a frozen plan, there or back; every draw is a function of the seed and the step."""

from __future__ import annotations

__all__ = ["Passage"]

from typing import Any

import torch
from torch import Tensor

from ..seeding import derive_seed
from .bridge import Bridge
from .resampling import even_out
from .schedule import Plan
from .transition import State, Transition

_BLOCK, _NUMBERS = 50, 2**21  # temperatures whose noise is drawn at once, and how much of it
_JITTER = 0.2  # of the step sizes, so that no trajectory comes back to where it began
_CHECKS = 100  # of the weights on the way, where particles are resampled


class Passage:
    """One run of `count` particles.

    Args:
        bridge: the path.
        transition: the step, compiled or not.
        plan: temperatures, step sizes and metrics.
        count: K.
        seed: of the run.
        purpose: tells its random numbers from those of others with the same seed.
        back: from the posterior to where the path begins, moves before weights.
        groups: of particles, which are resampled where their weights have become uneven; 0 never resamples.
    """

    def __init__(
        self,
        bridge: Bridge,
        transition: Transition,
        plan: Plan,
        count: int,
        seed: int,
        purpose: str,
        *,
        back: bool = False,
        groups: int = 0,
    ) -> None:
        self.bridge, self.transition, self.plan, self.count = bridge, transition, plan, count
        self.seed, self.purpose, self.back, self.groups = seed, purpose, back, groups
        self.steps = len(plan.metrics)
        self.block = max(1, min(_BLOCK, _NUMBERS // (count * bridge.dim)))
        self.every = max(1, self.steps // _CHECKS)
        self.order = list(reversed(plan.metrics)) if back else plan.metrics
        rises = plan.betas.diff()
        none = torch.zeros_like(rises)
        parts = [plan.betas[1:], none, -rises] if back else [plan.betas[1:], rises, none]
        places = torch.stack(parts, -1)
        self.places, self.sizes = (places.flip(0), plan.sizes.flip(0)) if back else (places, plan.sizes)
        self._noise: tuple[int, tuple[Tensor, ...]] | None = None

    def advance(self, state: State, step: int, most: int) -> tuple[State, Tensor]:
        """Up to `most` temperatures from number `step` on; the state after them and their acceptances ``(n,)``."""
        end = min(step + most, step - step % self.block + self.block, self.steps)
        if self.groups:
            end = min(end, step - step % self.every + self.every)
        begin, rates = step, []
        momentum, chance, sizes = self._noise_of(step // self.block)
        first = step - step % self.block
        while begin < end:
            stop = begin + 1
            while stop < end and self.order[stop] == self.order[begin]:
                stop += 1
            rows = slice(begin - first, stop - first)
            factor = self.plan.factors[self.order[begin]]
            own = [momentum[rows], chance[rows], sizes[rows], self.places[begin:stop]]
            state, found = self.transition(state, factor, own)
            rates.append(found)
            begin = stop
        if self.groups and end % self.every == 0 and end < self.steps:
            state = even_out(state, self.groups, self._generator("resampling", end))
        return state, torch.cat(rates)

    def _generator(self, kind: str, number: int) -> torch.Generator:
        seed = derive_seed(self.seed, "annealing", self.purpose, kind, number)
        return torch.Generator(self.bridge.device).manual_seed(seed)

    def _noise_of(self, block: int) -> tuple[Tensor, ...]:
        """Momenta, logs of uniform numbers and step sizes of a block of temperatures."""
        if self._noise is None or self._noise[0] != block:
            first = block * self.block
            length = min(self.block, self.steps - first)
            options: dict[str, Any] = {"dtype": self.bridge.dtype, "device": self.bridge.device}
            generator = self._generator("moves", block)
            momentum = torch.randn(length, self.count, self.bridge.dim, generator=generator, **options)
            chance, shift = torch.rand(2, length, self.count, generator=generator, **options)
            sizes = self.sizes[first : first + length, None] * (1.0 + _JITTER * (2.0 * shift - 1.0))
            self._noise = block, (momentum, chance.log(), sizes.unsqueeze(-1))
        return self._noise[1]

    def complete(self, state: State) -> State:
        """All temperatures in one go."""
        step = 0
        while step < self.steps:
            state, rates = self.advance(state, step, self.steps)
            step += len(rates)
        return state
