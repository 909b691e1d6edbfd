"""The noise of each step as a pure function of (seed, step)."""

from __future__ import annotations

__all__ = ["NoiseSource"]

import torch

from ..pair.randomness.noise import NoiseLayout
from ..seeding import derive_seed

_BLOCK_LIMIT = 1 << 20  # numbers drawn in one call, at most
_BLOCK_STEPS = 100


class NoiseSource:
    """Draw standard noise for many steps in one call, the same whichever way the steps are run.

    Steps come in fixed groups of `group` steps; each group has a generator of its own, seeded from (seed, group). A run
    that resumes anywhere draws what it would have drawn.

    Args:
        seed: the run's seed.
        program: what the program draws per particle, `num_particles` times.
        transform: what the batch transform draws once per step.
        dtype, device: of the noise.
    """

    def __init__(
        self,
        seed: int,
        num_particles: int,
        program: NoiseLayout,
        transform: NoiseLayout,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.seed, self.dtype, self.device = seed, dtype, device
        self.shapes = (
            (num_particles, program.normals),
            (num_particles, program.uniforms),
            (1, transform.normals),
            (1, transform.uniforms),
        )
        per_step = sum(rows * columns for rows, columns in self.shapes)
        self.group = max(1, min(_BLOCK_STEPS, _BLOCK_LIMIT // max(per_step, 1)))
        self._index = -1
        self._drawn: tuple[torch.Tensor, ...] = ()
        self._generator = torch.Generator(device)

    def _draw(self, index: int) -> tuple[torch.Tensor, ...]:
        if index != self._index:
            self._generator.manual_seed(derive_seed(self.seed, "noise", index))
            drawn = []
            for position, (rows, columns) in enumerate(self.shapes):
                make = torch.randn if position % 2 == 0 else torch.rand
                shape = (self.group, rows, columns)
                drawn.append(make(shape, generator=self._generator, dtype=self.dtype, device=self.device))
            self._index, self._drawn = index, tuple(drawn)
        return self._drawn

    def block(self, start: int, count: int) -> tuple[torch.Tensor, ...]:
        """Noise of `count` steps from `start`: four tensors ``(count, rows, columns)``."""
        pieces = []
        step, stop = start, start + count
        while step < stop:
            index, offset = divmod(step, self.group)
            take = min(self.group - offset, stop - step)
            pieces.append(tuple(t[offset : offset + take] for t in self._draw(index)))
            step += take
        if len(pieces) == 1:
            return pieces[0]
        return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))
