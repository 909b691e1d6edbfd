"""Data of any kind as closed forms take them: tensors of the parameters' dtype, on their device, checked."""

from __future__ import annotations

__all__ = ["as_tensor", "to_tensors", "read_numbers"]

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .masked_arrays import as_signed, refuse_masked, split_mask
from .sparse_counts import dense

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # with which torch hardly reckons


def as_tensor(name: str, value: Any, like: Tensor | None = None, integer: bool = False, missing: bool = True) -> Tensor:
    """One argument as a tensor.

    Args:
        name: the argument, for messages.
        value: a tensor of any number type, an array, a (nested) list, a DataFrame or Series, a scipy sparse matrix.
        like: a parameter, whose dtype and device the tensor gets; None keeps a floating dtype, and makes anything else
            torch's default one.
        integer: whether the argument holds indices or lengths: int64 then.
        missing: whether a masked entry becomes NaN, rather than an error.

    Raises:
        TypeError: it holds no numbers.
        ValueError: rows of unequal lengths; indices with a fraction; masked entries where none may be missing.
    """
    tensor = read_numbers(name, value, missing and not integer)
    if integer:
        if tensor.is_floating_point() and not bool((tensor == tensor.round()).all()):
            raise ValueError(f"`{name}` must hold whole numbers, got some with a fraction. Round or recode them.")
        return tensor.to(device=tensor.device if like is None else like.device, dtype=torch.int64)
    if like is not None:
        return tensor.to(like)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def read_numbers(name: str, value: Any, missing: bool = True) -> Tensor:
    """One argument as a tensor of the number type that it has; see :func:`as_tensor`."""
    try:
        value, mask = split_mask(dense(value))
    except ValueError as error:
        raise ValueError(f"`{name}` cannot be read as an array of numbers: {error}.") from error
    if not missing:
        refuse_masked(name, mask)
    if isinstance(value, Tensor):
        return value if value.dtype not in _UNSIGNED else torch.from_numpy(_signed(name, value.cpu().numpy()))
    if hasattr(value, "isna") and hasattr(value, "to_numpy"):  # pandas: a missing number is NaN, whatever the column
        array = value.to_numpy()
        if array.dtype.kind == "O":
            try:
                array = value.to_numpy(dtype="float64", na_value=float("nan"))
            except (TypeError, ValueError):
                pass
    else:
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"`{name}` cannot be read as an array of numbers: {error}.") from error
    if array.dtype.kind not in "biuf":
        found = f"{type(value).__name__} of dtype {array.dtype}"
        raise TypeError(f"`{name}` must hold numbers, got {found}. Encode text as numbers.")
    if array.dtype.kind == "f":
        kind = np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    else:
        array = array if array.dtype.kind == "b" else _signed(name, array)
        kind = array.dtype
    with np.errstate(over="ignore"):  # beyond float64 is infinite
        return torch.from_numpy(np.array(array, dtype=kind, order="C"))  # a copy, for read-only or reversed memory


def _signed(name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    try:
        return as_signed(array)
    except ValueError as error:
        raise ValueError(f"`{name}` cannot be used: {error}.") from error


def to_tensors(
    data: Any,
    like: Tensor,
    check: Callable[..., None],
    names: tuple[str, ...] = ("x",),
    whole: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """The named data, as tensors like `like`.

    Args:
        data: a dict of tensors or of whatever :func:`as_tensor` takes; one of these alone is the first name's.
        like: a parameter.
        check: `check_data` of the model, called with the tensors by name.
        names: what is needed; other keys are left alone.
        whole: what may be given besides, in whole numbers: int64.

    Raises:
        ValueError: a name is missing; what `check` finds.
        TypeError: data that are no numbers.
    """
    if not isinstance(data, Mapping):
        data = {names[0]: data}
    for name in names:
        if name not in data:
            keys = sorted(map(str, data))
            raise ValueError(f"`data` must hold {name!r}, got {keys}. Pass a dict of tensors by name.")
    allowed = getattr(getattr(check, "__self__", None), "nan_allowed", names)
    batch = {name: as_tensor(name, data[name], like, missing=name in allowed) for name in names}
    batch |= {name: as_tensor(name, data[name], like, integer=True) for name in whole if data.get(name) is not None}
    check(**batch)
    return batch
