"""Masked entries of NumPy and torch are missing: NaN, and never the value that hides there. No integer wraps around."""

from __future__ import annotations

__all__ = ["as_signed", "refuse_masked", "split_mask"]

from typing import Any

import numpy as np
import torch
from torch import Tensor

_EXACT = 2**53  # up to here every integer is a float64


def split_mask(value: Any) -> tuple[Any, np.ndarray[Any, Any] | None]:
    """`value` with NaN at its masked entries, and where those are; `value` itself and None if none is masked.

    Args:
        value: a masked array, a (nested) list of those, or a masked tensor; anything else is returned as it is.

    Raises:
        ValueError: rows of unequal lengths; integers beside masked ones that no float64 can hold.

    Example:
        >>> split_mask(np.ma.array([1, 999], mask=[False, True]))[0]
        array([ 1., nan])
    """
    if isinstance(value, Tensor):
        if not hasattr(value, "get_mask"):
            return value, None
        data, hidden = value.get_data(), ~value.get_mask()  # type: ignore[attr-defined]
        if not bool(hidden.any()):
            return data, None
        kind = data.dtype if data.is_floating_point() else torch.float64
        return data.to(kind).masked_fill(hidden, torch.nan), hidden.cpu().numpy()
    if isinstance(value, (list, tuple)) and _holds_masked(value):
        plain = np.array(_filled(value))
        value = np.ma.array(plain, mask=np.array(_masks(value)))
    if not isinstance(value, np.ma.MaskedArray):
        return value, None
    mask = np.ma.getmaskarray(value)
    if value.dtype.kind not in "biuf" or not mask.any():
        return value.data, None
    if value.dtype.kind in "iu" and value.count() and max(abs(int(value.max())), abs(int(value.min()))) > _EXACT:
        raise ValueError("it has masked entries beside integers above 2**53, which no floating-point type can hold")
    kind = value.dtype if value.dtype.kind == "f" else np.dtype(np.float64)
    return np.where(mask, kind.type(np.nan), value.data.astype(kind)), mask


def refuse_masked(name: str, mask: np.ndarray[Any, Any] | None) -> None:
    """Raise a `ValueError` if something is masked, where nothing may be missing."""
    if mask is not None:
        count, place = int(mask.sum()), tuple(int(index) for index in np.argwhere(mask)[0])
        raise ValueError(
            f"`{name}` has {count} masked {'entries' if count > 1 else 'entry'}, the first at {place}, and no value "
            f"may be missing there. Fill them in or leave those rows out."
        )


def as_signed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Unsigned integers as int64, which torch can reckon with.

    Raises:
        ValueError: one is 2**63 or more.
    """
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and int(array.max()) >= 2**63:
        raise ValueError(f"it holds the integer {int(array.max())}, above the largest of 64 bits; scale it down")
    return array.astype(np.int64)


def _holds_masked(value: list[Any] | tuple[Any, ...]) -> bool:
    return any(
        isinstance(item, np.ma.MaskedArray) or (isinstance(item, (list, tuple)) and _holds_masked(item))
        for item in value
    )


def _filled(value: Any) -> Any:
    """A (nested) list with the numbers that hide behind masks, or 0 where there is none."""
    if value is np.ma.masked:
        return 0
    if isinstance(value, np.ma.MaskedArray):
        return value.data.tolist()
    return [_filled(item) for item in value] if isinstance(value, (list, tuple)) else value


def _masks(value: Any) -> Any:
    """Where a (nested) list is masked."""
    if isinstance(value, np.ma.MaskedArray):
        return np.ma.getmaskarray(value).tolist()
    if isinstance(value, (list, tuple)):
        return [_masks(item) for item in value]
    return np.zeros(np.shape(value), dtype=bool).tolist()
