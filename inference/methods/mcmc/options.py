"""The options that every method with chains has."""

from __future__ import annotations

__all__ = ["ChainOptions"]

from dataclasses import dataclass

import torch

from ...errors import ConfigurationError, nearest
from ...options import check_compile, check_fraction, check_whole
from ..options import MethodOptions
from .metric import METRICS


@dataclass(frozen=True)
class ChainOptions(MethodOptions):
    """Chains, their lengths, metric and acceptance, checked; explained in :class:`jensen.inference.NUTS`."""

    steps: int = 1_000
    num_warmup: int = 1_000
    num_chains: int = 4
    target_acceptance: float = 0.8
    metric: str | None = None
    compile: bool | None = None
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    log_every: int = 100
    checkpoint_every: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("num_warmup", self.num_warmup)
        check_whole("num_chains", self.num_chains)
        check_fraction("target_acceptance", self.target_acceptance, "a mean acceptance", ", such as 0.8")
        if self.metric not in (None, *METRICS):
            raise ConfigurationError(
                f"`metric` must be one of {', '.join(METRICS)}, or None, got {self.metric!r}."
                f"{nearest(self.metric, METRICS)}"
            )
        check_compile(self.compile)
