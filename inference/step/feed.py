"""Where a step's data come from: the whole set, an index gather on the device, or a stream."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator

import torch

from ..program import Batch
from ..sampler import BatchSampler

__all__ = ["Feed", "FullBatch", "MiniBatches", "Stream"]


class Feed(abc.ABC):
    """The data of each step, as a pure function of the step.

    Attributes:
        static: tensors that every step shares (the whole data set), or None for a stream.
        indexed: whether a step gathers rows of `static` (rather than using all of it).
    """

    static: dict[str, torch.Tensor] | None = None
    indexed: bool = False

    @abc.abstractmethod
    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """The batch of one step."""

    def index(self, start: int, count: int) -> torch.Tensor | None:
        """Row indices ``(count, B)`` into `static`, or None when a step uses all of it."""
        return None

    def run_length(self, start: int, limit: int) -> int:
        """How many steps from `start` have batches of one shape, at most `limit`."""
        return limit

    def size(self, step: int) -> int:
        """How many data the step sees."""
        return len(next(iter(self.batch(step).values())))


class FullBatch(Feed):
    """Every step sees all the data (in a data-parallel run, all of this process's rows)."""

    def __init__(self, data: Batch) -> None:
        self.static = dict(data)

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        assert self.static is not None
        return self.static


class MiniBatches(Feed):
    """Mini-batches without replacement, gathered on the device where the data live.

    Args:
        data: the whole data set.
        sampler: which rows each step sees.
        rows: this process's part of a batch, a function of the batch's size, or None for all of it.
    """

    def __init__(self, data: Batch, sampler: BatchSampler, rows: Callable[[int], slice] | None = None) -> None:
        self.static = dict(data)
        self.indexed = True
        self.sampler, self.rows = sampler, rows
        self.device = next(iter(data.values())).device

    def index(self, start: int, count: int) -> torch.Tensor:
        index = self.sampler.indices_block(start, count)
        if self.rows is not None:
            index = index[:, self.rows(index.shape[1])]
        return index.to(self.device, non_blocking=True)

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        assert self.static is not None
        index = self.index(step, 1)[0]
        return {key: value.index_select(0, index) for key, value in self.static.items()}

    def run_length(self, start: int, limit: int) -> int:
        return self.sampler.run_length(start, limit)

    def size(self, step: int) -> int:
        sampler = self.sampler
        last = step % sampler.steps_per_epoch == sampler.steps_per_epoch - 1
        size = sampler.ragged_size if last else sampler.batch_size
        if self.rows is None:
            return size
        part = self.rows(size)
        return int(part.stop - part.start)


class Stream(Feed):
    """Batches read one after another from an iterator that can be opened at any step.

    Args:
        open_at: ``open_at(step)`` yields the batches of `step`, `step` + 1, ….
        rows: this process's part of a batch, a function of the batch's size, or None for all of it.
    """

    def __init__(
        self,
        open_at: Callable[[int], Iterator[dict[str, torch.Tensor]]],
        rows: Callable[[int], slice] | None = None,
    ) -> None:
        self._open_at, self.rows = open_at, rows
        self._iterator: Iterator[dict[str, torch.Tensor]] | None = None
        self._step = -1
        self._batch: dict[str, torch.Tensor] = {}

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        if step == self._step:
            return self._batch
        if self._iterator is None or step != self._step + 1:
            self._iterator = self._open_at(step)
        batch = next(self._iterator)
        if self.rows is not None:
            part = self.rows(len(next(iter(batch.values()))))
            batch = {key: value[part] for key, value in batch.items()}
        self._step, self._batch = step, batch
        return batch

    def run_length(self, start: int, limit: int) -> int:
        return 1
