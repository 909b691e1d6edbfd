r"""When a fit that has only its bound to watch lowers its rate, and when it stops.

Near an optimum, noisy steps of size :math:`\gamma` keep the bound below its top by about :math:`c \gamma`. A fit
in stages of rates :math:`\gamma_k = \rho^k \gamma_0` gains :math:`G_k = c \gamma_{k - 1} (1 - \rho)` by the k-th
reduction, and what all later ones could bring is

.. math:: c \gamma_k = G_k \, \rho / (1 - \rho).

A stage ends when the bound does not rise any more, by the equivalence test of :mod:`jensen.inference.run.convergence`
on means over blocks of steps; the fit stops when the bound is at rest and what further reductions could bring is below
the tolerance, or when noise hides both.

References: Welandawe et al. (2022), Robust, automated, and accurate black-box variational inference,
https://arxiv.org/abs/2203.15945
Dhaka et al. (2020), Robust, accurate stochastic optimization for variational inference,
https://arxiv.org/abs/2009.00666
"""

from __future__ import annotations

__all__ = ["LOWER", "MOST", "ON", "RATE", "STOP", "Plateau", "tolerance_of"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .convergence import CONVERGED, NOT_CONVERGED, UNKNOWN, Verdict, drift, judge, too_short

ON, LOWER, STOP = "on", "lower", "stop"
RATE = 10.0**-0.5  # of a reduction

MOST = 4  # reductions: to a hundredth
_FIRST_POINTS, _POINTS = 80, 20  # the fewest of the first stage, and of a later one
_AGAIN = 1.1  # a stage is looked at again when it has grown by this
_Z = 2.8
_DATUM, _PARAMETER = 0.05, 0.045  # nats; the second is half of 0.3 standard errors squared


def tolerance_of(data_size: float, parameters: int) -> float:
    """What a bound may still rise by, in nats.

    Of few parameters 0.3 standard errors of each (a bound that is so far from its top is 0.045 nats a parameter below
    it), of networks a twentieth of a nat per datum; at least half a nat and a thousandth of a nat per datum.
    """
    return max(0.5, 1e-3 * data_size, min(_PARAMETER * parameters, _DATUM * data_size))


@dataclass
class Plateau:
    """The bound of a fit, block by block and stage by stage.

    Attributes:
        tolerance: what the bound may still rise by, in nats.
        block: steps of a point.
        enough: points of the whole run after which noise may hide the rest; `patience`: those of a first stage.
        limit: points of the first stage at which it ends though the bound still rises; None for no limit.
        points: means over blocks, of all stages; `open`: the values of the block that is not full yet.
        stages: the first point of each stage.
        tested: points of the present stage when it was last looked at.
    """

    tolerance: float
    block: int = 1
    enough: int = 50
    patience: int = 25
    limit: int | None = None
    points: list[float] = field(default_factory=list)
    open: list[float] = field(default_factory=list)
    stages: list[int] = field(default_factory=lambda: [0])
    tested: int = 0

    keeps_best = False

    def add(self, values: Sequence[float]) -> None:
        """Take in the bounds of further steps."""
        held = [*self.open, *values]
        full = len(held) // self.block * self.block
        self.points += [float(np.mean(held[i : i + self.block])) for i in range(0, full, self.block)]
        self.open = held[full:]

    def decide(self) -> str:
        """Whether to go on, to lower the rate or to stop; a lower rate begins a new stage."""
        series = self._stage()
        count = len(series)
        if count < max(_FIRST_POINTS if len(self.stages) == 1 else _POINTS, _AGAIN * self.tested):
            return ON
        self.tested = count
        status, rise, _ = _judged(series, self.tolerance)
        if self._at_limit(count) and len(self.stages) == 1:
            return self._lower()
        if status == NOT_CONVERGED and rise > 0.0 and not self._at_limit(count):
            return ON
        last = len(self.stages) > MOST
        if len(self.stages) == 1:
            noise = _latest_noise(series)
            hidden = count >= self.patience and max(rise - self.tolerance, self.tolerance / 2) < _Z * noise
            return ON if status == UNKNOWN and not hidden else self._lower()  # hidden: more steps would tell little
        left, error = self._left()
        if left + _Z * error < self.tolerance and status == CONVERGED:
            return STOP
        if left - _Z * error > self.tolerance or (left > self.tolerance and count >= 2 * _POINTS):
            return STOP if last else self._lower()
        return STOP if len(self.points) >= self.enough and count >= 3 * _POINTS else ON

    def verdict(self) -> Verdict:
        """By the movement over the last half of the last stage, and what lower rates could bring."""
        series = self._stage()
        if (short := too_short(len(series))) is not None:
            return short if len(self.stages) == 1 else self._said(UNKNOWN, *_judged(series, math.inf)[1:])
        status, rise, error = _judged(series, self.tolerance)
        first = self.points[: self.stages[1]] if len(self.stages) > 1 else series
        if status == CONVERGED and len(self.stages) > 1:
            left, noise = self._left()
            sure = _judged(np.asarray(first), self.tolerance)[0] == CONVERGED
            if left + _Z * noise > self.tolerance or not sure:
                status = UNKNOWN
        elif status == CONVERGED:
            status = UNKNOWN  # cut short before a lower rate was tried
        return self._said(status, rise, error)

    def read(self, stored: Mapping[str, Any]) -> None:
        """Go on from what :meth:`stored` returned."""
        self.points, self.open = [float(v) for v in stored["points"]], [float(v) for v in stored["open"]]
        self.stages, self.tested = [int(v) for v in stored["stages"]], int(stored["tested"])

    def stored(self) -> dict[str, Any]:
        """The state, as plain values."""
        return {
            "points": list(self.points),
            "open": list(self.open),
            "stages": list(self.stages),
            "tested": self.tested,
        }

    def _stage(self, number: int = -1) -> np.ndarray:
        """The points of a stage; by default of the present one."""
        ends = [*self.stages[1:], len(self.points)]
        return np.asarray(self.points[self.stages[number] : ends[number]])

    def _at_limit(self, count: int) -> bool:
        if self.limit is None:
            return False
        return count >= (self.limit if len(self.stages) == 1 else 2 * _POINTS)

    def _lower(self) -> str:
        self.stages.append(len(self.points))
        self.open, self.tested = [], 0
        return LOWER

    def _left(self) -> tuple[float, float]:
        """What further reductions could bring, and its standard error: by the gain of the last one."""
        before, after = self._stage(-2), self._stage()
        (one, error), (other, its) = _level(before), _level(after)
        return (other - one) * RATE / (1.0 - RATE), math.hypot(error, its) * RATE / (1.0 - RATE)

    def _said(self, status: str, rise: float, error: float) -> Verdict:
        times = len(self.stages) - 1
        reason = (
            f"over the last half of the {'run' if not times else 'last stage'}, the bound moved by {rise:.3g} +- "
            f"{error:.2g} nats"
        )
        if times:
            left, noise = self._left()
            reason += f", and lower rates than the last of {times + 1} could bring {max(left, 0.0):.2g} +- {noise:.2g}"
        advice = {CONVERGED: "", NOT_CONVERGED: "Take more steps."}
        return Verdict(
            status,
            f"{reason} (tolerance {self.tolerance:.2g})",
            advice.get(status, "Take more steps, or larger batches: noise hides the rest."),
        )


def _judged(series: np.ndarray, tolerance: float) -> tuple[str, float, float]:
    status, _, rise, error = judge(np.asarray(series)[:, None], tolerance)
    return status, rise, error


def _latest_noise(series: np.ndarray) -> float:
    """The error of the rise over the last half, if all of it were as noisy as its own last half; the way there is not
    taken for noise."""
    half = series[len(series) // 2 :]
    return float(drift(half[:, None], curved=True)[1][0]) / math.sqrt(2.0)


def _level(series: np.ndarray) -> tuple[float, float]:
    """The mean of the last half of a series, and its standard error."""
    half = np.asarray(series)[len(series) // 2 :]
    error = judge(np.asarray(series)[:, None], math.inf)[3]
    return float(half.mean()), error / math.sqrt(12.0)
