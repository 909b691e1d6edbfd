"""Data as closed forms take them: tensors of the parameters' dtype, on their device, checked."""

from __future__ import annotations

__all__ = ["given"]

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def given(data: Any, like: Tensor, check: Callable[..., None], names: tuple[str, ...] = ("x",)) -> dict[str, Tensor]:
    """The named data, as tensors like `like`.

    Args:
        data: a dict of tensors or of whatever `numpy.asarray` takes; one of these alone is the first name's.
        like: a parameter.
        check: `check_data` of the model, called with the tensors by name.
        names: what is needed; other keys are left alone.

    Raises:
        ValueError: a name is missing; what `check` finds.
        TypeError: data that are no numbers.
    """
    if not isinstance(data, Mapping):
        data = {names[0]: data}
    batch = {}
    for name in names:
        if name not in data:
            keys = sorted(map(str, data))
            raise ValueError(f"`data` must hold {name!r}, got {keys}. Pass a dict of tensors by name.")
        value = data[name]
        if not isinstance(value, Tensor):
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                found = f"{type(value).__name__} of dtype {array.dtype}"
                raise TypeError(f"`{name}` must hold numbers, got {found}. Encode text as numbers.")
            value = torch.tensor(array)
        batch[name] = value.to(like)
    check(**batch)
    return batch
