"""`MethodOptions`: the options that every method has, and their checks."""

from __future__ import annotations

__all__ = ["MethodOptions"]

from pathlib import Path

import torch

from ..devices import resolve_device
from ..options import check_dtype, check_whole


class MethodOptions:
    """Abstract: the fields, with the same names, of the dataclasses that are methods."""

    steps: int
    device: str | torch.device
    dtype: torch.dtype | None
    progress: bool | None
    checkpoint_every: int | None
    restarts: int = 1
    log_every: int = 1
    tensorboard: str | Path | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "log_every"):
            check_whole(name, getattr(self, name))
        if self.checkpoint_every is not None:
            check_whole("checkpoint_every", self.checkpoint_every)
        check_dtype(self.dtype)
        resolve_device(self.device)
