"""The whole configuration of stochastic variational inference."""

from __future__ import annotations

__all__ = ["RATE", "SVIOptions"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import torch

from ...errors import ConfigurationError, nearest
from ...objectives import OBJECTIVES, Objective, Trace_ELBO
from ...options import check_fraction, check_positive, check_whole
from ...run.identity import plain
from ...step.engine import COMPILE_MODES
from ..options import AUTO, MethodOptions
from .given_start import GivenStart, as_start

RATE = 1e-2  # by default


@dataclass(frozen=True)
class SVIOptions(MethodOptions):
    """Everything that determines a fit by SVI, checked; the fields are explained in :class:`jensen.inference.SVI`."""

    objective: Objective | str = field(default_factory=Trace_ELBO)
    steps: Any = AUTO
    lr: float | None = None
    batch_size: int | None = None
    guide: Any = None
    start: Any = field(default="pathfinder", metadata={"later": True})  # than version 0.1: see studies' fingerprints
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    lr_schedule: Callable[[Any], Any] | None = None
    clip_norm: float | None = None
    average: float | None = None
    drop_last: bool = False
    transform: Callable[..., Any] | None = None
    compile: str | bool = "auto"
    device: str | torch.device = "auto"
    dtype: torch.dtype | None = None
    precision: str | None = None
    restarts: int = 1
    validate_every: int | None = None
    validation_draws: int = 16
    patience: int | None = None
    warm_up: float = 0.1
    log_every: int = 100
    checkpoint_every: int | None = None
    threads: int | None = None
    tensorboard: str | Path | None = None
    progress: bool | None = None

    _OFFERS_AUTO: ClassVar = True
    _NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("device", "checkpoint_every", "threads", "tensorboard", "progress")

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", _objective(self.objective))
        super().__post_init__()
        check_whole("validation_draws", self.validation_draws)
        for name in ("batch_size", "validate_every", "patience", "threads"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        if self.lr is None and self.steps != AUTO:
            object.__setattr__(self, "lr", RATE)  # as ever
        if self.lr is not None:
            check_positive("lr", self.lr)
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)
        if self.average is not None:
            check_fraction("average", self.average, "a decay", ", such as 0.999")
        check_fraction("warm_up", self.warm_up, "a fraction of training")
        object.__setattr__(self, "start", as_start(self.start))
        if self.compile not in COMPILE_MODES:
            names = [str(mode) for mode in COMPILE_MODES]
            raise ConfigurationError(
                f"`compile` must be one of {', '.join(names)}, got {self.compile!r}.{nearest(self.compile, names)}"
            )
        if self.precision not in (None, "bf16"):
            raise ConfigurationError(f'`precision` must be None or "bf16", got {self.precision!r}.')
        if not callable(self.optimizer):
            raise ConfigurationError(
                f"`optimizer` must be a torch.optim class, or a callable `(parameters, lr) -> Optimizer`, got "
                f"{self.optimizer!r}."
            )
        if not isinstance(self.optimizer_options, dict):
            raise ConfigurationError(
                f"`optimizer_options` must be a dict of keyword arguments, got {self.optimizer_options!r}."
            )
        if self.lr_schedule is not None and not callable(self.lr_schedule):
            raise ConfigurationError(
                f"`lr_schedule` must be a function of the fraction of training, or of an optimiser, got "
                f"{self.lr_schedule!r}."
            )
        if self.transform is not None and not callable(self.transform):
            raise ConfigurationError(f"`transform` must be a function of a batch, got {self.transform!r}.")
        _check_guide(self.guide)

    def build_optimizer(self, parameters: Sequence[torch.Tensor], lr: float | torch.Tensor) -> torch.optim.Optimizer:
        """The optimiser over `parameters`.

        Raises:
            ConfigurationError: if it refuses its options.
        """
        name = getattr(self.optimizer, "__name__", repr(self.optimizer))
        try:
            built = self.optimizer(parameters, lr=lr, **self.optimizer_options)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"`optimizer` {name} refused `optimizer_options` or `lr`: {error}") from error
        if isinstance(built, torch.optim.LBFGS):
            raise ConfigurationError(
                f"`optimizer` {name} needs a closure that evaluates the bound several times a step, which a noisy "
                f"bound does not allow. Use `torch.optim.Adam`."
            )
        if not isinstance(built, torch.optim.Optimizer):
            raise ConfigurationError(f"`optimizer` must return a torch Optimizer, got {built!r} from {name}.")
        return built

    def configuration(self) -> dict[str, Any]:
        """Everything that determines the fit, as plain values."""
        assert isinstance(self.objective, Objective)
        named = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        if isinstance(self.start, GivenStart):
            named["start"] = self.start.plain()
        named["optimizer_options"] = {key: plain(value) for key, value in self.optimizer_options.items()}
        left_out = ("objective", *self._NOT_IDENTITY, *(("start",) if self.start == "prior" else ()))  # as in 0.1
        return self.objective.configuration() | {n: value for n, value in named.items() if n not in left_out}


def _objective(objective: Any) -> Objective:
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ConfigurationError(
                f"`objective` must be one of {', '.join(OBJECTIVES)}, got {objective!r}."
                f"{nearest(objective, OBJECTIVES)}"
            )
        objective = OBJECTIVES[objective]
    if isinstance(objective, type) and issubclass(objective, Objective):
        try:
            return objective()
        except TypeError as error:
            raise ConfigurationError(
                f"`objective` {objective.__name__} needs arguments: {error}. Pass an instance."
            ) from error
    raise ConfigurationError(
        f"`objective` must be a jensen objective such as `Trace_ELBO()`, or its name, got {objective!r}. Pyro's own "
        f"losses synchronise with the host at every step; jensen's of the same names take their place."
    )


def _check_guide(guide: Any) -> None:
    if isinstance(guide, str):
        from ...guides import GUIDES

        if guide not in GUIDES:
            raise ConfigurationError(
                f"`guide` must be one of {', '.join(GUIDES)}, a Pyro autoguide class or a callable `model -> guide`, "
                f"got {guide!r}.{nearest(guide, GUIDES)}"
            )
    elif guide is not None and not callable(guide):
        raise ConfigurationError(
            f"`guide` must be a name, a Pyro autoguide class or a callable `model -> guide`, got {guide!r}."
        )
