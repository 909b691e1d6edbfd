"""Data of one model: what every holder of data can do, those in memory, and the check of a batch."""

from __future__ import annotations

__all__ = ["Data", "MemoryData", "check_batch"]

import abc
import operator
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ConfigurationError, DataError
from ..pair.signature import Signature
from .parts import columns_of, is_empty
from .tensors import to_tensor


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
    def head(self, num: int = 1) -> dict[str, torch.Tensor]:
        """The first `num` data (or all there are), as a batch."""

    @abc.abstractmethod
    def batch(self, index: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
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
        if batch_size is None:
            return self.size
        try:
            number = operator.index(batch_size)
        except TypeError:
            number = 0
        if number < 1 or isinstance(batch_size, bool):
            raise ConfigurationError(f"`batch_size` must be a positive number of data or None, got {batch_size!r}.")
        if number > self.size:
            raise DataError(
                f"`batch_size` is {number}, more than the {self.size} data. Pass a smaller one, or None for the full "
                f"batch."
            )
        return number


class MemoryData(Data):
    """Data held on the device. `tensors` maps each argument to ``(N, …)``; :meth:`batch` gathers rows there."""

    in_memory = True

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors = dict(tensors)
        self.names = tuple(self.tensors)
        self.size = len(next(iter(self.tensors.values())))

    def head(self, num: int = 1) -> dict[str, torch.Tensor]:
        return {name: value[:num] for name, value in self.tensors.items()}

    def effective_size(self, weight: str | None) -> float:
        return float(self.tensors[weight].double().sum()) if weight in self.tensors else self.size

    def batch(self, index: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        if index is None:
            return dict(self.tensors)
        return {name: value.index_select(0, index.to(value.device)) for name, value in self.tensors.items()}

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {tuple(value.shape)}" for name, value in self.tensors.items())
        return f"MemoryData({shapes})"


def check_batch(
    model: Any,
    signature: Signature,
    parts: Mapping[str, Any],
    *,
    dtype: torch.dtype,
    device: torch.device,
    observed: bool = True,
    check: bool = True,
) -> dict[str, torch.Tensor]:
    """Turn arrays by argument name into a checked batch; see :func:`as_data` for the errors."""
    may_miss, may_be_sparse = getattr(model, "nan_allowed", ()), getattr(model, "sparse_allowed", ())
    drawn = [name for name in signature.observed if name not in may_miss]
    parts = {name: x for name, x in parts.items() if x is not None and not (name in drawn and is_empty(x))}
    signature.check(parts, observed=observed)
    if not parts:
        raise DataError(f"The data are empty: `{signature.model}` was given no arrays.")
    batch = {
        name: to_tensor(
            name,
            value,
            dtype=dtype,
            device=device,
            integer=name in signature.integers,
            missing=name in may_miss,
            sparse=name in may_be_sparse,
        )
        for name, value in parts.items()
    }
    lengths = {name: len(value) for name, value in batch.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        raise DataError(f"The data have unequal lengths: {listed}. The first dimension of each must be the same N.")
    own_check = getattr(model, "check_data", None) if check else None
    if own_check is not None:
        try:
            own_check(**batch)
        except ValueError as error:
            columns = "".join(columns_of(name, value) for name, value in parts.items())
            raise DataError(f"`{signature.model}` cannot use these data: {error}{columns}") from error
    return batch
