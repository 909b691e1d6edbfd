"""One array-like into one checked tensor: number types, finiteness and shape, with errors that name the place."""

from __future__ import annotations

__all__ = ["check_finite", "to_tensor"]

import sys
from typing import Any

import torch

from jensen.models.sparse_counts import dense

from .errors import DataError
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
        value: a tensor, array, Series, DataFrame, or (nested) list of numbers.
        missing: whether a NaN stands for a missing value, and passes.
        sparse: whether a sparse matrix (of scipy or torch) is made dense.

    Raises:
        DataError: if it holds no numbers (text, objects, complex), is a scalar, is empty, has a NaN or an infinity,
            or does not fit the type it is cast to: too large, or with all its spread below that type's rounding.
    """
    value = dense(value) if sparse else value
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
    place = f"row {first[0]}"
    if columns is not None:
        place += f", column {columns[first[1]]!r}"
    elif len(first) > 1:
        place += f", column {first[1]}" if len(first) == 2 else f", position {tuple(first[1:])}"
    raise DataError(
        f"`{name}` has {count} value{'s' if count > 1 else ''} that {'are' if count > 1 else 'is'} not finite{hint}: "
        f"the first is {kind} in {place}. Remove or fill in those rows."
    )


def _read(name: str, value: Any, columns: list[Any] | None) -> torch.Tensor:
    import numpy as np

    if isinstance(value, torch.Tensor):
        tensor = value.detach()
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
            array = array.astype(np.float64)
        if array.dtype in (np.uint16, np.uint32, np.uint64):
            array = array.astype(np.int64)
        # a copy: torch takes no read-only, reversed or foreign-endian memory
        tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    if tensor.is_complex():
        raise DataError(f"`{name}` must hold real numbers, got {_short(tensor.dtype)}.")
    return tensor


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
    whole = all(kind.kind in "iu" for kind in kinds) and not bool(value.isna().to_numpy().any())
    return value.to_numpy(dtype="int64") if whole else value.to_numpy(dtype="float64", na_value=float("nan"))


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
