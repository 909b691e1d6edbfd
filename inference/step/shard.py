"""One process's part of a data-parallel run: its rows of the batch, its rows of the noise, the sum of gradients."""

from __future__ import annotations

__all__ = ["Shard", "ShardedNoise"]

from dataclasses import dataclass

import torch
import torch.distributed as dist

from ..data.feed import Feed
from ..errors import ConfigurationError
from ..pair.randomness.noise import Draw, NoiseLayout
from .function import Gradients, StepFunction
from .noise_source import NoiseSource


@dataclass(frozen=True)
class Shard:
    """Rank and size of the process group that shares each batch."""

    rank: int
    size: int

    def rows(self, batch_size: int) -> slice:
        """This process's rows of a batch.

        Raises:
            ConfigurationError: if the processes cannot divide the batch evenly.
        """
        if batch_size % self.size:
            raise ConfigurationError(
                f"A batch of {batch_size} cannot be divided evenly among {self.size} processes. Choose a "
                f"`batch_size` that is a multiple of {self.size} (and `drop_last=True` if the last batch is ragged)."
            )
        part = batch_size // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def reduce(self, out: Gradients) -> Gradients:
        """Sum gradients and bounds over the processes, in one message."""
        parts = [gradient.reshape(-1) for gradient in out.gradients] + [out.bounds.to(out.gradients[0].dtype)]
        message = torch.cat(parts)
        dist.all_reduce(message)
        pieces = message.split([part.numel() for part in parts])
        gradients = [piece.view_as(g) for piece, g in zip(pieces[:-1], out.gradients, strict=True)]
        return Gradients(gradients, pieces[-1].to(out.bounds.dtype), out.buffers)

    def noise(
        self,
        seed: int,
        num_particles: int,
        function: StepFunction,
        feed: Feed,
        layouts: tuple[NoiseLayout, NoiseLayout],
        dtype: torch.dtype,
        device: torch.device,
    ) -> ShardedNoise:
        """The rows of the global batch's noise that belong to this process.

        Draws that cannot be made from base noise are each process's own: of data, then, they differ from those of one
        process, and of global latents they would have to agree, which they cannot.

        Raises:
            ConfigurationError: if a global latent is drawn so, or a process has fewer than two data a step.
        """
        batch = feed.batch(0)
        drawn = [name for layout in layouts for name in layout.opaque]
        shared = function.program.structure(function.transformed(batch, None)).global_latents if drawn else []
        if shared:
            raise ConfigurationError(
                f"Processes cannot share draws made by `{drawn[0]}`, and the model has the global latent "
                f'`{shared[0].name}`. Use a guide whose draws are transformed normals, such as `guide="normal"`, or '
                f"one process."
            )
        count = len(next(iter(batch.values())))
        if count < 2:
            raise ConfigurationError("A data-parallel run needs at least two data per process and step.")
        shorter = function.layouts({key: value[: count - 1] for key, value in batch.items()})
        return ShardedNoise(self, seed, num_particles, layouts, shorter, dtype, device)


class ShardedNoise:
    """Draw the noise of the global batch everywhere, and keep this process's rows.

    Which dimension of each draw belongs to the data is found by comparing the layouts of two batch sizes.
    """

    def __init__(
        self,
        shard: Shard,
        seed: int,
        num_particles: int,
        layouts: tuple[NoiseLayout, NoiseLayout],
        shorter: tuple[NoiseLayout, NoiseLayout],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.shard = shard
        self.dims = [
            [_data_dim(a, b) for a, b in zip(mine.draws, less.draws, strict=True)]
            for mine, less in zip(layouts, shorter, strict=True)
        ]
        whole = [
            NoiseLayout([_widened(d, dim, shard.size) for d, dim in zip(layout.draws, dims, strict=True)])
            for layout, dims in zip(layouts, self.dims, strict=True)
        ]
        self.whole = whole
        self.source = NoiseSource(seed, num_particles, whole[0], whole[1], dtype, device)

    def block(self, start: int, count: int) -> tuple[torch.Tensor, ...]:
        drawn = self.source.block(start, count)
        return tuple(
            self._mine(tensor, self.whole[i // 2], self.dims[i // 2], "normal" if i % 2 == 0 else "uniform")
            for i, tensor in enumerate(drawn)
        )

    def _mine(self, tensor: torch.Tensor, layout: NoiseLayout, dims: list[int | None], kind: str) -> torch.Tensor:
        parts, start = [], 0
        for draw, dim in zip(layout.draws, dims, strict=True):
            if draw.kind != kind:
                continue
            part = tensor[..., start : start + draw.numel]
            start += draw.numel
            if dim is not None:
                part = part.reshape(*tensor.shape[:-1], *draw.shape)
                rows = self.shard.rows(draw.shape[dim])
                part = part.narrow(tensor.dim() - 1 + dim, rows.start, rows.stop - rows.start)
                part = part.reshape(*tensor.shape[:-1], -1)
            parts.append(part)
        return torch.cat(parts, -1) if parts else tensor


def _data_dim(draw: Draw, shorter: Draw) -> int | None:
    changed = [i for i, (a, b) in enumerate(zip(draw.shape, shorter.shape, strict=True)) if a != b]
    return changed[0] if changed else None


def _widened(draw: Draw, dim: int | None, size: int) -> Draw:
    if dim is None:
        return draw
    return Draw(draw.kind, tuple(n * size if i == dim else n for i, n in enumerate(draw.shape)))
