"""The data as the program sees them: through the fit's transform, drawn once by the fit's seed."""

from __future__ import annotations

__all__ = ["check_raw", "apply_transform"]

from typing import Any

import torch

from ..errors import DataError
from ..seeding import derive_seed
from ..tensors import Tensors
from .reader import own_check


def check_raw(transform: Any, batch: Tensors, what: str) -> None:
    """Let the transform look at the data before it is applied, if it has a `check`: once, not at every step.

    Raises:
        DataError: if the transform cannot use the data.
    """
    check = getattr(transform, "check", None)
    if not callable(check):
        return
    try:
        check(batch)
    except ValueError as error:
        name = getattr(transform, "__name__", type(transform).__name__)
        raise DataError(f"The transform `{name}` cannot use the {what}: {error}") from error


def apply_transform(transform: Any, model: Any, batch: Tensors, seed: int) -> Tensors:
    """One draw of the transform (the batch itself without one), checked by the model.

    Raises:
        DataError: if the model cannot use what the transform returns.
    """
    if transform is None:
        return batch
    devices = sorted({value.device for value in batch.values() if value.is_cuda}, key=str)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(seed, "presentation"))
        shown: Tensors = transform(batch, None)
    own_check(model, shown, "the transformed data")
    return shown
