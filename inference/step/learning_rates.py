"""Learning rates that change over a fit: functions of the fraction of training done, or any torch scheduler."""

from __future__ import annotations

__all__ = ["LearningRates", "iwae_schedule"]

import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from ..errors import ConfigurationError


def iwae_schedule(fraction: float) -> float:
    r"""The IWAE paper's schedule: stage ``i = 0 … 7`` lasts ``3^i`` of 3280 parts, at ``10^{-i/7}`` of the first rate.

    Reference: Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, 2016, https://arxiv.org/abs/1509.00519.

    Example:
        >>> iwae_schedule(0.0), round(iwae_schedule(1.0), 6)
        (1.0, 0.1)
    """
    part, stage = min(fraction, 1.0) * 3280.0, 0
    while stage < 7 and part >= 3.0**stage:
        part -= 3.0**stage
        stage += 1
    return float(10.0 ** (-stage / 7.0))


class LearningRates:
    """The learning rate of every step, as a function of the step.

    Args:
        lr: the base rate.
        schedule: None; a function of the fraction of training that returns a factor; or a function from an optimiser to
            a `torch.optim.lr_scheduler.LRScheduler`, stepped once per training step.
        steps: the total number of steps.

    Attributes:
        adaptive: whether a fit may lower its rate while it runs.
        lowered: by what factor, from which step on.

    Raises:
        ConfigurationError: if the schedule is neither, or gives a rate that is negative or not finite.
    """

    def __init__(self, lr: float, schedule: Callable[[Any], Any] | None, steps: int) -> None:
        self.lr, self.steps = lr, steps
        self.adaptive = False
        self.lowered: list[tuple[int, float]] = []
        self._factor: Callable[[float], float] | None = None
        self._scheduler: LRScheduler | None = None
        self._known: list[float] = [lr]
        if schedule is None:
            return
        if not callable(schedule):
            raise ConfigurationError(
                f"`lr_schedule` must be a function of the fraction of training, or of an optimiser, got {schedule!r}."
            )
        try:
            probe = schedule(0.0)
        except (TypeError, AttributeError):
            probe = None
        if isinstance(probe, (numbers.Real, torch.Tensor)):
            self._factor = schedule
            self(0)
            return
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
        try:
            made = schedule(optimizer)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"`lr_schedule` cannot be made: {error}") from error
        if not isinstance(made, LRScheduler) or isinstance(made, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ConfigurationError(
                f"`lr_schedule` must return a factor, or a torch LRScheduler that depends on the step alone, got "
                f"{made!r}."
            )
        self._scheduler, self._optimizer = made, optimizer
        self._known = [float(optimizer.param_groups[0]["lr"])]

    @property
    def changes(self) -> bool:
        return self.adaptive or self._factor is not None or self._scheduler is not None

    def lower(self, step: int, factor: float) -> None:
        """Multiply the rates of `step` and all later ones."""
        self.lowered = [*self.lowered, (step, factor)]

    def __call__(self, step: int) -> float:
        """The rate of `step` (from 0)."""
        return self._scheduled(step) * math.prod(factor for start, factor in self.lowered if step >= start)

    def _scheduled(self, step: int) -> float:
        if self._factor is not None:
            fraction = step / max(self.steps - 1, 1)
            factor = float(self._factor(fraction))
            if not (math.isfinite(factor) and factor >= 0.0):
                raise ConfigurationError(
                    f"`lr_schedule` must return a factor that is finite and not negative, got {factor!r} at the "
                    f"fraction {fraction:.4g} of training."
                )
            return self.lr * factor
        if self._scheduler is None:
            return self.lr
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the dummy optimiser never steps
            while len(self._known) <= step:
                self._scheduler.step()
                self._known.append(float(self._optimizer.param_groups[0]["lr"]))
        return self._known[step]
