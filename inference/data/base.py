"""Data of one model: what every holder of data can do, and those in memory."""

from __future__ import annotations

__all__ = ["Data", "MemoryData"]

import abc
from collections.abc import Mapping, Sequence

import torch

from ..tensors import Batch, Tensors, num_rows
from .sampler import check_batch_size


class Data(abc.ABC):
    """`N` data for one model. Abstract: the data are either in memory (:class:`MemoryData`) or streamed.

    Attributes:
        names: the model's arguments that are given.
        size: `N`.
        in_memory: whether :meth:`batch` can gather any rows; otherwise there is only `stream`.
    """

    names: tuple[str, ...]
    size: int
    in_memory: bool

    @abc.abstractmethod
    def head(self, num: int = 1) -> Tensors:
        """The first `num` data (or all there are), as a batch."""

    @abc.abstractmethod
    def batch(self, index: torch.Tensor | None = None) -> Tensors:
        """The data at `index` ``(B,)`` as a batch; all of them when it is None."""

    def effective_size(self, weight: str | None) -> float:
        """How many data a fit counts: `N`, or the sum of the argument `weight` where rows in memory have one."""
        return self.size

    def check_batch_size(self, batch_size: int | None) -> int:
        """Return the batch size to use: `N` for None.

        Raises:
            ConfigurationError: if it is not a positive integer.
            DataError: if it is larger than `N`.
        """
        return self.size if batch_size is None else check_batch_size(batch_size, self.size)


class MemoryData(Data):
    """Data held on the device. `tensors` maps each argument to ``(N, …)``; :meth:`batch` gathers rows there.

    `columns` has names of columns, by argument, where the data came with any.
    """

    in_memory = True

    def __init__(self, tensors: Batch, columns: Mapping[str, Sequence[str]] | None = None) -> None:
        self.tensors, self.columns = dict(tensors), dict(columns or {})
        self.names = tuple(self.tensors)
        self.size = num_rows(self.tensors)

    def head(self, num: int = 1) -> Tensors:
        return {name: value[:num] for name, value in self.tensors.items()}

    def effective_size(self, weight: str | None) -> float:
        return float(self.tensors[weight].double().sum()) if weight in self.tensors else self.size

    def batch(self, index: torch.Tensor | None = None) -> Tensors:
        if index is None:
            return dict(self.tensors)
        return {name: value.index_select(0, index.to(value.device)) for name, value in self.tensors.items()}

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {tuple(value.shape)}" for name, value in self.tensors.items())
        return f"MemoryData({shapes})"
