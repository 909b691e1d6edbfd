"""Sources of a step's data: the whole set, a gather of rows on the device, or a stream."""

from __future__ import annotations

__all__ = ["Feed", "FullBatch", "MiniBatches", "Stream"]

import abc
import os
from collections.abc import Callable, Iterator

import torch

from ..devices import threads
from ..errors import ConfigurationError
from ..tensors import Batch, Tensors, num_rows
from .sampler import BatchSampler

_LARGE_GATHER = 1 << 18  # numbers; above it a gather, which waits for memory, is worth all cores, whatever steps use


class Feed(abc.ABC):
    """The data of each step, as a pure function of the step.

    Attributes:
        shared: the batch, where every step sees the same one (all the data); else None.
    """

    shared: Tensors | None = None

    @abc.abstractmethod
    def batch(self, step: int) -> Tensors:
        """The batch of one step."""

    def rows(self, start: int, count: int) -> list[torch.Tensor]:
        """The batches of `count` equally sized steps, ``(count, B, …)`` each; empty where all share one batch."""
        assert count == 1
        return [value.unsqueeze(0) for value in self.batch(start).values()]

    def run_length(self, start: int, limit: int) -> int:
        """How many steps from `start` have batches of one shape, at most `limit`."""
        return limit

    def longest_run(self) -> int | None:
        """The most steps in a row that have batches of one shape; None where all have."""
        return None

    def size(self, step: int) -> int:
        """How many data the step sees."""
        return num_rows(self.batch(step))


class FullBatch(Feed):
    """Every step sees all the data (in a data-parallel run, all of this process's rows)."""

    def __init__(self, data: Batch) -> None:
        self.shared = dict(data)

    def batch(self, step: int) -> Tensors:
        assert self.shared is not None
        return self.shared

    def rows(self, start: int, count: int) -> list[torch.Tensor]:
        return []


class MiniBatches(Feed):
    """Mini-batches without replacement, gathered on the device where the data live.

    Args:
        data: the whole data set.
        sampler: which rows each step sees.
        part: this process's part of a batch, a function of the batch's size, or None for all of it.
    """

    def __init__(self, data: Batch, sampler: BatchSampler, part: Callable[[int], slice] | None = None) -> None:
        self.data = dict(data)
        self.sampler, self.part = sampler, part
        self.device = next(iter(data.values())).device
        self._cores = max(torch.get_num_threads(), os.cpu_count() or 1) if self.device.type == "cpu" else None
        self._space: dict[torch.Size, list[torch.Tensor]] = {}

    def _index(self, start: int, count: int) -> torch.Tensor:
        index = self.sampler.indices_block(start, count)
        if self.part is not None:
            index = index[:, self.part(index.shape[1])]
        return index.to(self.device, non_blocking=True)

    def batch(self, step: int) -> Tensors:
        index = self._index(step, 1)[0]
        return {key: value.index_select(0, index) for key, value in self.data.items()}

    def rows(self, start: int, count: int) -> list[torch.Tensor]:
        """As `Feed.rows`; the tensors are overwritten by the next call of the same shape."""
        index = self._index(start, count)
        if index.shape not in self._space:
            self._space[index.shape] = [v.new_empty(index.numel(), *v.shape[1:]) for v in self.data.values()]
        space, flat = self._space[index.shape], index.reshape(-1)
        with threads(self._cores if space[0].numel() > _LARGE_GATHER else None):
            for value, out in zip(self.data.values(), space, strict=True):
                torch.index_select(value, 0, flat, out=out)
        return [out.view(*index.shape, *out.shape[1:]) for out in space]

    def run_length(self, start: int, limit: int) -> int:
        return self.sampler.run_length(start, limit)

    def longest_run(self) -> int | None:
        ragged = self.sampler.ragged_size != self.sampler.batch_size
        return max(self.sampler.steps_per_epoch - 1, 1) if ragged else None

    def size(self, step: int) -> int:
        sampler = self.sampler
        last = step % sampler.steps_per_epoch == sampler.steps_per_epoch - 1
        size = sampler.ragged_size if last else sampler.batch_size
        if self.part is None:
            return size
        mine = self.part(size)
        return int(mine.stop - mine.start)


class Stream(Feed):
    """Batches read one after another from an iterator that can be opened at any step.

    Args:
        open_at: ``open_at(step)`` yields the batches of `step`, `step` + 1, ….
        part: this process's part of a batch, a function of the batch's size, or None for all of it.

    Attributes:
        look: called with each batch that is read, and its step; None looks at none.
    """

    look: Callable[[Tensors, int], None] | None = None

    def __init__(
        self,
        open_at: Callable[[int], Iterator[Tensors]],
        part: Callable[[int], slice] | None = None,
    ) -> None:
        self._open_at, self.part = open_at, part
        self._iterator: Iterator[Tensors] | None = None
        self._step = -1
        self._size = 0
        self._batch: Tensors = {}

    def batch(self, step: int) -> Tensors:
        if step == self._step:
            return self._batch
        if self._iterator is None or step != self._step + 1:
            self._iterator = self._open_at(step)
        batch = next(self._iterator)
        if self.part is not None:
            size = num_rows(batch)
            self._size = self._size or size
            if size != self._size:
                raise ConfigurationError(
                    f"A data-parallel run needs batches of one size: the stream gave {self._size} data, and then "
                    f"{size}. Pass `drop_last=True` to the DataLoader."
                )
            mine = self.part(size)
            batch = {key: value[mine] for key, value in batch.items()}
        if self.look is not None:
            self.look(batch, step)
        self._step, self._batch = step, batch
        return batch

    def run_length(self, start: int, limit: int) -> int:
        return 1
