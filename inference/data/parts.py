"""Take data in memory apart into arrays by argument name."""

from __future__ import annotations

__all__ = ["columns_of", "holds_integers", "is_empty", "parts_of", "parts_of_item"]

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import DataError, nearest
from ..pair.signature import Signature
from ..warn import warn_user


def parts_of(signature: Signature, data: Any) -> dict[str, Any]:
    """The arrays in `data` by the name of the argument that they are.

    A tuple holds the arguments in order, anything else that has no names is the first of them: a list holds rows.

    Raises:
        DataError: it is no data; more parts than arguments; a column that looks like a misspelt argument.
    """
    if isinstance(data, Mapping):
        return dict(data)
    if isinstance(data, (str, bytes)) or data is None:
        raise DataError(
            f"`data` must be a tensor, an array, a DataFrame, a dict of them, a tuple of them in the order of the "
            f"model's arguments, a Dataset or a DataLoader, got {data if data is None else type(data).__name__}."
        )
    if isinstance(getattr(data, "train", None), Mapping):
        raise DataError("`data` is a whole data set with its splits: pass one of them, such as `data.train`.")
    if isinstance(data, tuple) and not hasattr(data, "columns") and any(map(_is_array, data)):
        return signature.in_order(data, "The tuple has")
    if not hasattr(data, "columns"):
        _refuse_unequal(signature, data)
        return {signature.first: data}
    return _by_column(signature, data)


def parts_of_item(signature: Signature, item: Any) -> dict[str, Any]:
    """The arrays in a collated item of a Dataset, or in a batch of a loader, by the name of the argument."""
    if isinstance(item, Mapping):
        return dict(item)
    if isinstance(item, Sequence) and not isinstance(item, str):
        return signature.in_order(item, "The items have")
    return {signature.first: item}


def _is_array(value: Any) -> bool:
    return value is None or (hasattr(value, "__len__") and not isinstance(value, str))


def _refuse_unequal(signature: Signature, data: Any) -> None:
    """A list of arrays of different shapes holds no rows: it was meant as a tuple."""
    if not isinstance(data, list) or len(data) < 2 or not all(hasattr(item, "shape") for item in data):
        return
    shapes = [tuple(item.shape) for item in data]
    if len(set(shapes)) > 1:
        listed = ", ".join(map(str, shapes))
        raise DataError(
            f"A list holds the rows of `{signature.first}`, and this one holds arrays of different shapes: {listed}. "
            f"Pass several arguments as a tuple in order, ({', '.join(signature.places)}), or as a dict."
        )


def _by_column(signature: Signature, frame: Any) -> dict[str, Any]:
    named = {name: frame[name] for name in frame.columns if name in signature.names}
    rest = [name for name in frame.columns if name not in named]
    if not rest:
        return named
    if signature.first not in named:
        return {signature.first: frame[rest], **named}
    left = [name for name in signature.names if name not in named]
    for column in rest:
        if isinstance(column, str) and (hint := nearest(column, left)):
            raise DataError(
                f"The DataFrame's column {column!r} is no argument of `{signature.model}`.{hint} Rename it, or drop it."
            )
    warn_user(
        f"The columns {', '.join(map(repr, rest))} are no arguments of `{signature.model}` and are left out. Pass "
        f"`data[{list(named)}]` to say so."
    )
    return named


def columns_of(name: str, value: Any) -> str:
    """A sentence that names the columns of a DataFrame given for an argument; nothing for other data."""
    if getattr(value, "ndim", 1) != 2 or not hasattr(value, "columns"):
        return ""
    shown = [repr(label) for label in value.columns]
    listed = ", ".join(shown[:20]) + (", …" if len(shown) > 20 else "")
    return f" The columns taken as `{name}` are {listed}: select those that belong to it."


def is_empty(value: Any) -> bool:
    """Whether it holds missing values (NaN or None) alone, as the outcome of rows that are to be predicted."""
    if hasattr(value, "toarray") or getattr(value, "layout", torch.strided) != torch.strided:
        return False  # a sparse matrix holds zeros
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and value.numel() > 0 and bool(value.isnan().all())
    if hasattr(value, "isna") and hasattr(value, "to_numpy"):
        return bool(value.isna().to_numpy().all()) and len(value) > 0
    if hasattr(value, "dtype") and getattr(value.dtype, "kind", "") != "O":
        return value.dtype.kind == "f" and value.size > 0 and bool((value != value).all())
    if not isinstance(value, (list, tuple)) and not hasattr(value, "dtype"):
        return False
    return len(value) > 0 and all(item is None or (isinstance(item, float) and item != item) for item in value)


def holds_integers(value: Any) -> bool:
    """Whether an array holds numbers of an integer type (booleans are none)."""
    if isinstance(value, torch.Tensor):
        return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    kinds = list(value.dtypes) if getattr(value, "ndim", 1) == 2 and hasattr(value, "dtypes") else [_dtype(value)]
    return all(getattr(kind, "kind", "O") in "iu" for kind in kinds)


def _dtype(value: Any) -> Any:
    import numpy as np

    try:
        return getattr(value, "dtype", None) or np.asarray(value).dtype
    except (TypeError, ValueError):
        return None
