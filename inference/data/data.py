"""Read data of any kind: checked once, on the device, gathered by index or streamed."""

from __future__ import annotations

__all__ = ["as_data"]

from typing import Any

import torch

from ..pair.signature import read_signature
from .base import Data, MemoryData
from .parts import parts_of
from .reader import Reader
from .streams import LoaderData, read_dataset


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
    reader = Reader(model, signature, dtype, place, observed, check)
    if isinstance(data, torch.utils.data.DataLoader):
        return LoaderData(data, reader)
    if isinstance(data, torch.utils.data.Dataset):
        return read_dataset(data, reader, max_bytes)
    parts = parts_of(signature, data)
    named = {name: list(value.columns) for name, value in parts.items() if hasattr(value, "columns")}
    return MemoryData(reader(parts), named)
