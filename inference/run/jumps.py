"""Whether an interval of steps has thrown a fit away: its bound stays below what it was by more than noise explains."""

from __future__ import annotations

__all__ = ["Jumps"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_FEWEST_STEPS, _ROWS, _KEPT = 20, 3, 10
_STEP_SDS, _MOVES, _SHARE = 5.0, 10.0, 0.1  # of noise, of what a row moves, of all that was gained


@dataclass
class Jumps:
    """Medians over the last half of each interval, so that a bound that is far off at a few steps counts for nothing.

    A jump is a fall of the median below the median of the last rows by more than five standard deviations of a single
    step, ten times what the median moves from row to row, and a tenth of what the whole run has gained.

    Attributes:
        first: the first interval's median.
        levels, noise: medians, and standard deviations of a step, of the last intervals.
    """

    first: float | None = None
    levels: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)

    def fall(self, values: Sequence[float]) -> float:
        """By how much the bounds of an interval's steps fell, if that is a jump; else 0. Nothing is changed."""
        if len(values) < _FEWEST_STEPS or len(self.levels) < _ROWS or self.first is None:
            return 0.0
        level, before = _level(values), float(np.median(self.levels[-5:]))
        moves = float(np.median(np.abs(np.diff(self.levels))))
        least = max(
            _STEP_SDS * float(np.median(self.noise)), _MOVES * moves, _SHARE * abs(max(self.levels) - self.first), 0.5
        )
        return before - level if before - level > least else 0.0

    def add(self, values: Sequence[float]) -> None:
        """Take in the bounds of an interval that is kept."""
        if len(values) < _FEWEST_STEPS or not np.isfinite(values).all():
            return
        half = np.asarray(values, dtype=float)[len(values) // 2 :]
        level = _level(values)
        self.first = level if self.first is None else self.first
        self.levels = [*self.levels, level][-_KEPT:]
        self.noise = [*self.noise, 1.4826 * float(np.median(np.abs(half - level)))][-_KEPT:]

    def stored(self) -> dict[str, Any]:
        """The state, as plain values."""
        return {"first": self.first, "levels": list(self.levels), "noise": list(self.noise)}

    def read(self, stored: Mapping[str, Any]) -> None:
        """Go on from what :meth:`stored` returned."""
        self.first = None if stored["first"] is None else float(stored["first"])
        self.levels, self.noise = [float(v) for v in stored["levels"]], [float(v) for v in stored["noise"]]


def _level(values: Sequence[float]) -> float:
    return float(np.median(np.asarray(values, dtype=float)[len(values) // 2 :]))
