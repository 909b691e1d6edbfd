"""From checked data to the feed of a run: all of them, gathered mini-batches, or a stream."""

from __future__ import annotations

__all__ = ["make_feed"]

from collections.abc import Iterator

import torch

from ...data.base import Data, MemoryData
from ...data.feed import Feed, FullBatch, MiniBatches, Stream
from ...data.sampler import BatchSampler
from ...data.streams import LoaderData
from ...errors import ConfigurationError
from ...seeding import derive_seed
from ...step.shard import Shard


def make_feed(data: Data, batch_size: int | None, seed: int, drop_last: bool, shard: Shard | None) -> Feed:
    """The data of each step as a pure function of (seed, step).

    Args:
        data: the training data.
        batch_size: `B` over all processes; None for a `DataLoader`, which brings its own.
        seed: the run's seed.
        drop_last: leave out the ragged last batch of each epoch.
        shard: this process's part of each batch, or None.

    Raises:
        ConfigurationError: in a data-parallel run, if the batches are not all of one size.
    """
    rows = None if shard is None else shard.rows
    if isinstance(data, LoaderData):
        return Stream(lambda step: data.stream(seed, step), rows)
    assert batch_size is not None
    sampler = BatchSampler(data.size, batch_size, derive_seed(seed, "batches"), drop_last)
    if shard is not None and batch_size < data.size and sampler.ragged_size != batch_size:
        raise ConfigurationError(
            f"A data-parallel run needs batches of one size: {data.size} data do not divide into batches of "
            f"{batch_size}. Pass `drop_last=True`."
        )
    if not isinstance(data, MemoryData):

        def gather(step: int) -> Iterator[dict[str, torch.Tensor]]:
            while True:
                yield data.batch(sampler.indices(step))
                step += 1

        return Stream(gather, rows)
    if batch_size == data.size:
        return FullBatch(data.tensors if rows is None else {k: v[rows(data.size)] for k, v in data.tensors.items()})
    return MiniBatches(data.tensors, sampler, rows)
