"""Annealing schedules: functions of the fraction of training that is done, ending at their final value."""

from __future__ import annotations

__all__ = ["Constant", "Cyclical", "Linear", "as_schedule"]

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ConfigurationError

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Constant:
    """The same `value` throughout."""

    value: float

    def __call__(self, fraction: float) -> float:
        return self.value


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` over the first `until` of training, then `end`.

    Raises:
        ConfigurationError: unless 0 < until <= 1.

    Example:
        >>> Linear(0.0, 1.0, until=0.5)(0.25)
        0.5
    """

    start: float = 0.0
    end: float = 1.0
    until: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.until <= 1.0:
            raise ConfigurationError(f"`until` must be a fraction of training in (0, 1], got {self.until!r}.")

    def __call__(self, fraction: float) -> float:
        return _between(self.start, self.end, min(fraction / self.until, 1.0))


@dataclass(frozen=True)
class Cyclical:
    """`cycles` linear ramps from `start` to `end`, each rising during `ramp` of its cycle and then flat; ends at `end`.

    Reference: Fu et al., Cyclical Annealing Schedule, 2019, https://arxiv.org/abs/1903.10145.

    Raises:
        ConfigurationError: unless cycles >= 1 and 0 < ramp <= 1.
    """

    start: float = 0.0
    end: float = 1.0
    cycles: int = 4
    ramp: float = 0.5

    def __post_init__(self) -> None:
        if self.cycles < 1 or not 0.0 < self.ramp <= 1.0:
            raise ConfigurationError(
                f"`cycles` must be at least 1 and `ramp` in (0, 1], got cycles={self.cycles!r} and ramp={self.ramp!r}."
            )

    def __call__(self, fraction: float) -> float:
        if fraction >= 1.0:
            return self.end
        position = math.modf(fraction * self.cycles)[0]
        return _between(self.start, self.end, min(position / self.ramp, 1.0))


def _between(start: float, end: float, part: float) -> float:
    return (1.0 - part) * start + part * end  # exact at both ends


def as_schedule(value: float | Schedule, argument: str) -> Schedule:
    """A number becomes `Constant`; a function is checked at 0, 1/2 and 1.

    Raises:
        ConfigurationError: if a value is negative or not finite.
    """
    schedule: Schedule = value if callable(value) else Constant(float(value))
    for fraction in (0.0, 0.5, 1.0):
        result = schedule(fraction)
        if not (math.isfinite(result) and result >= 0.0):
            raise ConfigurationError(
                f"`{argument}` must be finite and not negative at every fraction of training, got {result!r} at "
                f"{fraction}."
            )
    return schedule


def describe(schedule: Schedule) -> Any:
    """A schedule as plain values, for the configuration that is stored with a fit."""
    if isinstance(schedule, Constant):
        return schedule.value
    if isinstance(schedule, (Linear, Cyclical)):
        return {"schedule": type(schedule).__name__, **asdict(schedule)}
    return getattr(schedule, "__qualname__", repr(schedule))
