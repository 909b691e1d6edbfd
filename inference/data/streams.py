"""Data that stay where they are: a Dataset read item by item, and a DataLoader whose epochs can be repeated."""

from __future__ import annotations

__all__ = ["DatasetData", "LoaderData", "read_dataset"]

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from jensen.models.common.masked_arrays import split_mask

from ..errors import DataError
from ..seeding import derive_seed
from ..tensors import Tensors
from .base import Data, MemoryData
from .parts import parts_of_item
from .reader import Reader


class DatasetData(Data):
    """A map-style Dataset too large for memory: rows are read, stacked and moved when they are asked for."""

    in_memory = False

    def __init__(self, dataset: Any, read: Reader) -> None:
        self.dataset, self.read = dataset, read
        self.size = len(dataset)
        self.names = tuple(self.head())

    def head(self, num: int = 1) -> Tensors:
        return self._rows(range(min(num, self.size)))

    def batch(self, index: torch.Tensor | None = None) -> Tensors:
        return self._rows(range(self.size) if index is None else index.tolist())

    def _rows(self, rows: Sequence[int]) -> Tensors:
        return self.read.item(collate([self.dataset[row] for row in rows]))


class LoaderData(Data):
    """A DataLoader's own batches, with epochs that are a pure function of (seed, epoch).

    Each epoch's CPU generator starts from its own derived seed, and draws made by the loader and its dataset never
    touch the caller's generator; a run resumed at step `t` sees the batches it would have seen. (A loader with a custom
    sampler that keeps its own generator is outside that promise.)
    """

    in_memory = False

    def __init__(self, loader: Any, read: Reader) -> None:
        self.loader, self.read = loader, read
        try:
            self.size = len(loader.dataset)
        except TypeError as error:
            raise DataError(
                "The DataLoader's dataset has no length, so a mini-batch cannot be scaled to the whole data. Give the "
                "dataset a `__len__`."
            ) from error
        if self.size == 0:
            raise DataError("The data are empty: the DataLoader's dataset has length 0.")
        self._first = next(self.stream(0), None)
        if self._first is None:
            raise DataError("The DataLoader yields no batch (is `drop_last` set with too large a `batch_size`?).")
        self.names = tuple(self._first)

    def head(self, num: int = 1) -> Tensors:
        assert self._first is not None
        return {name: value[:num] for name, value in self._first.items()}

    def batch(self, index: torch.Tensor | None = None) -> Tensors:
        if index is not None:
            raise DataError("A DataLoader cannot be read by index: use `stream`.")
        with _honest(self.loader):
            batches = iter(self.loader)
        parts = [self.read.item(item) for item in batches]
        return {name: torch.cat([part[name] for part in parts]) for name in self.names}

    def stream(self, seed: int, start: int = 0) -> Iterator[Tensors]:
        """Batches of steps `start`, `start` + 1, …, without end, epoch after epoch."""
        step = epoch = 0
        try:
            length = len(self.loader)
        except TypeError:
            length = None
        if length:
            epoch, step = start // length, start // length * length
        while True:
            begin = step
            for item in self._epoch(derive_seed(seed, "loader", epoch)):
                if step >= start:
                    yield self.read.item(item)
                step += 1
            if step == begin:
                return
            epoch += 1

    def _epoch(self, seed: int) -> Iterator[Any]:
        own = getattr(self.loader, "generator", None)
        if own is not None:
            own.manual_seed(seed)
        private = torch.Generator().manual_seed(seed).get_state()
        with _Swapped(private) as state, _honest(self.loader):
            batches = iter(self.loader)
        while True:
            with _Swapped(state.inside) as state:
                item = next(batches, None)
            if item is None:
                return
            yield item


class _Swapped:
    """Inside, the default CPU generator has another state; afterwards it has its own again, and `inside` is kept."""

    def __init__(self, inside: torch.Tensor) -> None:
        self.inside = inside

    def __enter__(self) -> _Swapped:
        self.outside = torch.get_rng_state()
        torch.set_rng_state(self.inside)
        return self

    def __exit__(self, *error: object) -> None:
        self.inside = torch.get_rng_state()
        torch.set_rng_state(self.outside)


def collate(items: Sequence[Any]) -> Any:
    """Torch's own stacking of items into a batch, which takes the values behind a mask for data: NaN here."""
    return default_collate([_unmasked(item) for item in items])


def _unmasked(item: Any) -> Any:
    import numpy as np

    if isinstance(item, np.ma.MaskedArray):
        plain = np.asarray(split_mask(item)[0])
        return plain if plain.dtype.kind == "f" else plain.astype(np.float64)
    if isinstance(item, Mapping):
        return {key: _unmasked(part) for key, part in item.items()}
    return type(item)(map(_unmasked, item)) if type(item) in (tuple, list) else item


@contextmanager
def _honest(loader: Any) -> Iterator[None]:
    """Inside, iterators of a loader that stacks items as torch does take account of masks."""
    if getattr(loader, "collate_fn", None) is not default_collate:
        yield
        return
    loader.collate_fn = collate
    try:
        yield
    finally:
        loader.collate_fn = default_collate


def read_dataset(dataset: Dataset[Any], read: Reader, max_bytes: int) -> Data:
    """Stack the Dataset in memory if it fits in `max_bytes`; otherwise leave it where it is."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise DataError(
            "`data` is an iterable Dataset without length or index: pass a DataLoader over a sized Dataset."
        )
    size = len(dataset)
    if size == 0:
        raise DataError("The data are empty: the Dataset has length 0.")
    lazy = DatasetData(dataset, read)
    per_item = sum(value.numel() * value.element_size() for value in lazy.head().values())
    if per_item * size > max_bytes:
        return lazy
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=min(size, 1024), collate_fn=collate)
    parts = [parts_of_item(read.signature, item) for item in loader]
    whole = {name: torch.cat([torch.as_tensor(part[name]) for part in parts]) for name in parts[0]}
    return MemoryData(read(whole))
