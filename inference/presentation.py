"""The data as the program sees them: through the fit's transform, drawn once by the fit's seed."""

from __future__ import annotations

from typing import Any

import torch

from .errors import DataError
from .seeding import derive_seed

__all__ = ["presented"]

Tensors = dict[str, torch.Tensor]


def presented(transform: Any, model: Any, batch: Tensors, seed: int) -> Tensors:
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
    if hasattr(model, "check_data"):
        try:
            model.check_data(**shown)
        except ValueError as error:
            raise DataError(f"`{type(model).__name__}` cannot use the transformed data: {error}") from error
    return shown
