"""Whatever holds data, as batches a model takes: checked once, on the device, gathered by index or streamed."""

from __future__ import annotations

__all__ = ["Data", "MemoryData", "as_data", "check_batch"]

import abc
import operator
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ConfigurationError, DataError
from ..pair.signature import Signature, read_signature
from .index_arguments import with_indices
from .parts import columns_of, is_empty, parts_of
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


def as_data(
    model: Any,
    data: Any,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    observed: bool = True,
    check: bool = True,
    max_bytes: int = 2**30,
) -> Data:
    """Return `data` as batches that `model` takes.

    Every number, also booleans and integers (labels, counts, pixels, an integer design matrix), becomes `dtype`:
    distributions over integers take floats, and so do products. Integers stay integers, as int64, where the model needs
    them: an argument without a default that it indexes with, or otherwise refuses as floating numbers (group ids, as in
    ``offset[group]``); what an argument is, is seen from one run on the first rows. An argument that the model
    annotates ``torch.LongTensor`` is int64 always, however it is given.

    An argument that the model observes (default None) and that holds nothing but NaN or None counts as left out: rows
    whose outcome is to be predicted.

    Args:
        model: a `LatentVariableModel`, or a Pyro program as a callable with named arguments.
        data: one of

            - a tensor, array or Series ``(N, …)``: the model's first argument (of counts, also a scipy sparse matrix,
              which is made dense here, once: a model says in `sparse_allowed` where it takes one); a list holds rows;
            - a tuple of those: the model's arguments in order (those with a default other than None are no data);
            - a dict of those (or of DataFrames), by argument name;
            - a DataFrame: columns named like an argument are that argument ``(N,)``, the others, in order, the first
              argument ``(N, D)``, or left out with a warning if that is a column of its own;
            - a `torch.utils.data.Dataset` whose items are a tensor, a tuple (in the order of the arguments) or a dict:
              stacked in memory if it fits in `max_bytes`, else streamed;
            - a `torch.utils.data.DataLoader`: streamed, in batches of its own size;
            - a `Data`, returned as it is.
        dtype: floating-point type; torch's default one if None.
        device: where batches live; torch's default device if None.
        observed: whether something that the model observes must be given, as in a fit.
        check: whether the data must pass the model's own `check_data` (not before a transform that makes them fit).
        max_bytes: largest `Dataset` that is held in memory.

    Raises:
        DataError: if the data are empty, not numbers, not finite, of unequal lengths, lack an argument or have one that
            the model does not take, or do not pass the model's own `check_data(**batch)`.

    Example:
        >>> def model(x, y=None): ...
        >>> as_data(model, {"x": [[1.0, 2.0], [3.0, 4.0]], "y": [True, False]})
        MemoryData(x: (2, 2), y: (2,))
    """
    if isinstance(data, Data):
        return data
    signature = read_signature(model)
    dtype = dtype or torch.get_default_dtype()
    place = torch.device(device) if device is not None else torch.get_default_device()
    if isinstance(data, (torch.utils.data.DataLoader, torch.utils.data.Dataset)):
        from .streams import LoaderData, Reader, read_dataset

        reader = Reader(model, signature, dtype, place, observed, check)
        if isinstance(data, torch.utils.data.DataLoader):
            return LoaderData(data, reader)
        return read_dataset(data, reader, max_bytes)
    parts = parts_of(signature, data)
    signature = with_indices(model, signature, parts, dtype, place)
    return MemoryData(check_batch(model, signature, parts, dtype=dtype, device=place, observed=observed, check=check))


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
