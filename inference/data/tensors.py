"""One array-like into one checked tensor: number types, finiteness and shape, with errors that name the place."""

from __future__ import annotations

__all__ = ["check_finite", "to_tensor"]

import sys
from typing import Any

import torch

from jensen.models.common.masked_arrays import as_signed, split_mask
from jensen.models.common.sparse_counts import dense

from ..errors import DataError
from .spread import check_spread

_FLOAT32_INTEGERS = {torch.float32: 2**24, torch.float64: 2**53, torch.float16: 2**11, torch.bfloat16: 2**8}


def to_tensor(
    name: str,
    value: Any,
    *,
    dtype: torch.dtype,
    device: torch.device,
    integer: bool = False,
    missing: bool = False,
    sparse: bool = False,
) -> torch.Tensor:
    """Return `value` as a tensor ``(N, …)`` of `dtype` (int64 if `integer`) on `device`, checked.

    Args:
        name: the model's argument, for messages.
        value: a tensor, array, Series, DataFrame, or (nested) list of numbers. A masked entry is missing.
        missing: whether a NaN stands for a missing value, and passes.
        sparse: whether a sparse matrix (of scipy or torch) is made dense.

    Raises:
        DataError: if it holds no numbers (text, objects, complex), is a scalar, is empty, has a NaN, an infinity or a
            masked entry, or does not fit the type it is cast to: too large, or with all its spread below that type's
            rounding.
    """
    value = dense(value) if sparse else value
    try:
        value, mask = split_mask(value)
    except ValueError as error:
        raise DataError(f"`{name}` cannot be read as an array of numbers ({error}).") from error
    if mask is not None and not (missing and not integer):
        count, first = int(mask.sum()), [int(index) for index in mask.nonzero() for index in index[:1]]
        raise DataError(
            f"`{name}` has {count} masked {'entries' if count > 1 else 'entry'}, the first in {_place(first)}, and the "
            f"model takes no missing values there. Fill them in or remove those rows."
        )
    columns = list(value.columns) if _is_pandas(value, "DataFrame") else None
    tensor = _read(name, value, columns)
    if tensor.ndim == 0:
        raise DataError(f"`{name}` must have the data as its first dimension, got a single number. Pass shape (N, …).")
    if tensor.shape[0] == 0 or tensor.numel() == 0:
        raise DataError(f"`{name}` is empty: its shape is {tuple(tensor.shape)}. Pass at least one datum.")
    check_finite(name, tensor, columns, missing=missing)
    if integer:
        if tensor.is_floating_point() and not torch.equal(tensor, tensor.round()):
            raise DataError(f"`{name}` is declared an integer tensor by the model, but holds numbers with a fraction.")
        return tensor.to(device=device, dtype=torch.int64)
    if not tensor.is_floating_point() and tensor.dtype != torch.bool:
        largest = max(abs(int(tensor.max())), abs(int(tensor.min())))
        if largest > _FLOAT32_INTEGERS.get(dtype, 2**53):
            raise DataError(
                f"`{name}` holds the integer {largest}, which {_short(dtype)} cannot represent. Annotate the model's "
                f"argument `{name}: torch.LongTensor` to keep integers, or fit with dtype=torch.float64."
            )
    cast = tensor.to(device=device, dtype=dtype)
    if tensor.is_floating_point() and torch.finfo(tensor.dtype).max > torch.finfo(dtype).max:
        check_finite(
            name, cast, columns, missing=missing, hint=f" after the cast from {_short(tensor.dtype)} to {_short(dtype)}"
        )
        check_spread(name, tensor, dtype, columns)
    return cast


def check_finite(
    name: str, tensor: torch.Tensor, columns: list[Any] | None = None, *, missing: bool = False, hint: str = ""
) -> None:
    """Raise a `DataError` that says where the first NaN (unless it stands for a missing value) or infinity is."""
    if not tensor.is_floating_point():
        return
    bad = torch.isinf(tensor) if missing else ~torch.isfinite(tensor)
    if not bool(bad.any()):
        return
    count, first = int(bad.sum()), bad.nonzero()[0].tolist()
    kind = "a NaN" if bool(torch.isnan(tensor[tuple(first)])) else "an infinity"
    place = _place(first, columns)
    raise DataError(
        f"`{name}` has {count} value{'s' if count > 1 else ''} that {'are' if count > 1 else 'is'} not finite{hint}: "
        f"the first is {kind} in {place}. Remove or fill in those rows."
    )


def _place(index: list[int], columns: list[Any] | None = None) -> str:
    """Where an entry is, in words."""
    row = f"row {index[0]}"
    if columns is not None:
        return f"{row}, column {columns[index[1]]!r}"
    if len(index) < 2:
        return row
    return f"{row}, column {index[1]}" if len(index) == 2 else f"{row}, position {tuple(index[1:])}"


def _read(name: str, value: Any, columns: list[Any] | None) -> torch.Tensor:
    import numpy as np

    if isinstance(value, torch.Tensor):
        tensor = value.detach()
        if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):  # with which torch hardly reckons
            tensor = torch.from_numpy(_signed(name, tensor.cpu().numpy()))
        elif tensor.is_floating_point() and tensor.element_size() < 2:
            tensor = tensor.float()
        if tensor.layout != torch.strided:
            raise DataError(f"`{name}` is a sparse tensor. Pass `{name}.to_dense()`.")
    else:
        if columns is not None:
            text = [label for label, kind in zip(columns, value.dtypes, strict=True) if not _is_number(kind)]
            if text:
                raise DataError(
                    f"`{name}` has columns that are not numbers: {', '.join(repr(label) for label in text)}. Drop or "
                    f"encode them."
                )
        if hasattr(value, "toarray") and not isinstance(value, np.ndarray):
            raise DataError(f"`{name}` is a sparse matrix. Pass `{name}.toarray()`.")
        if columns is not None or _is_pandas(value, "Series"):
            value = _from_pandas(value)
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise DataError(f"`{name}` cannot be read as an array of numbers ({error}).") from error
        if array.dtype.kind not in "biuf":
            raise DataError(f"`{name}` must hold numbers, got {_describe(value, array)}. Encode it as numbers first.")
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            with np.errstate(over="ignore"):  # beyond float64 is infinite, which is said
                array = array.astype(np.float64)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = _signed(name, array)
        # a copy: torch takes no read-only, reversed or foreign-endian memory
        tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    if tensor.is_complex():
        raise DataError(f"`{name}` must hold real numbers, got {_short(tensor.dtype)}.")
    return tensor


def _signed(name: str, array: Any) -> Any:
    try:
        return as_signed(array)
    except ValueError as error:
        raise DataError(f"`{name}` cannot be used: {error}.") from error


def _is_pandas(value: Any, kind: str) -> bool:
    pandas = sys.modules.get("pandas")  # a DataFrame in hand means that pandas was imported
    return pandas is not None and isinstance(value, getattr(pandas, kind))


def _is_number(kind: Any) -> bool:
    return getattr(kind, "kind", "O") in "biuf"


def _from_pandas(value: Any) -> Any:
    """The values of a Series or a DataFrame as one array: integers if all are, floats (missing: NaN) otherwise."""
    kinds = list(value.dtypes) if value.ndim == 2 else [value.dtype]
    if not all(_is_number(kind) for kind in kinds):
        return value.to_numpy()
    if all(kind.kind in "iu" for kind in kinds) and not bool(value.isna().to_numpy().any()):
        signed = all(kind.kind == "i" or kind.itemsize < 8 for kind in kinds)
        return value.to_numpy(dtype="int64" if signed else "uint64")
    return value.to_numpy(dtype="float64", na_value=float("nan"))


def _describe(value: Any, array: Any) -> str:
    if array.dtype.kind in "US" or (array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat)):
        return "text"
    if array.dtype.kind == "c":
        return "complex numbers"
    if array.dtype.kind in "mM":
        return "dates or durations"
    return f"an array of {array.dtype} ({type(value).__name__})"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
