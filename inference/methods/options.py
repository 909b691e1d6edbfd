"""`MethodOptions`: the options that every method has, and their checks."""

from __future__ import annotations

__all__ = ["AUTO", "MethodOptions"]

from pathlib import Path
from typing import Any, ClassVar

import torch

from ..devices import resolve_device
from ..errors import ConfigurationError
from ..options import check_dtype, check_whole

AUTO = "auto"  # steps until the fit has come to rest, of methods that offer it


class MethodOptions:
    """Abstract: the fields, with the same names, of the dataclasses that are methods."""

    steps: Any  # a whole number, or what else a method takes
    device: str | torch.device
    dtype: torch.dtype | None
    progress: bool | None
    checkpoint_every: int | None
    restarts: int = 1
    log_every: int = 1
    tensorboard: str | Path | None = None

    _OFFERS_AUTO: ClassVar = False  # whether `steps` may be "auto"

    def __post_init__(self) -> None:
        if isinstance(self.steps, str) and self._OFFERS_AUTO and self.steps != AUTO:
            raise ConfigurationError(f'`steps` must be a positive whole number or "{AUTO}", got {self.steps!r}.')
        if not (self._OFFERS_AUTO and self.steps == AUTO):
            check_whole("steps", self.steps)
        for name in ("restarts", "log_every"):
            check_whole(name, getattr(self, name))
        if self.checkpoint_every is not None:
            check_whole("checkpoint_every", self.checkpoint_every)
        check_dtype(self.dtype)
        resolve_device(self.device)
