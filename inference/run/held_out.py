"""When a fit with validation data lowers its rate, and when it stops: by where their bound is highest."""

from __future__ import annotations

__all__ = ["HeldOut"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .convergence import CONVERGED, NOT_CONVERGED, UNKNOWN, Verdict
from .plateau import LOWER, MOST, ON, RATE, STOP

_WAIT = 8  # evaluations


@dataclass
class HeldOut:
    """Bounds with the same draws every time on data that are not trained on, stage by stage.

    A stage ends when, over its last half and at least eight evaluations, the bound has not risen above its best by the
    tolerance: it is flat, or falls since the fit learns its training data by heart. The next one goes on from the best
    parameters of all. The last stage is the one whose gain promises less than the tolerance from further reductions
    (:mod:`jensen.inference.run.plateau`).

    Attributes:
        tolerance: what the bound may still rise by, in nats.
        points: the bounds, of all stages.
        stages: the first point of each stage.
        ended: whether the last stage is over.
    """

    tolerance: float
    points: list[float] = field(default_factory=list)
    stages: list[int] = field(default_factory=lambda: [0])
    ended: bool = False

    keeps_best = True

    def add(self, values: Sequence[float]) -> None:
        """Take in further bounds."""
        self.points += [float(value) for value in values]

    def decide(self) -> str:
        """Whether to go on, to stop, or to lower the rate and go on from the best, which begins a new stage."""
        if self._rises():
            return ON
        if len(self.stages) == 1 or (self._left() > self.tolerance and len(self.stages) <= MOST):
            self.stages.append(len(self.points))
            return LOWER
        self.ended = True
        return STOP

    def verdict(self) -> Verdict:
        """Whether the bound has been at its highest, by the test that ends a stage."""
        if not self.points:
            return Verdict(UNKNOWN, "the validation bound was never computed", "Take more steps.")
        reason = (
            f"the validation bound was highest ({max(self.points):.6g}) at evaluation "
            f"{1 + self.points.index(max(self.points))} of {len(self.points)}, whose parameters are returned"
        )
        if len(self.stages) > 1:
            reason += f"; lower rates than the last of {len(self.stages)} could bring {max(self._left(), 0.0):.2g} nats"
        reason += f" (tolerance {self.tolerance:.2g})"
        if self.ended:
            return Verdict(CONVERGED, reason)
        status = NOT_CONVERGED if len(self._stage()) > _WAIT and self._rises() else UNKNOWN
        return Verdict(status, reason, "Take more steps.")

    def stored(self) -> dict[str, Any]:
        """The state, as plain values."""
        return {"points": list(self.points), "stages": list(self.stages), "ended": self.ended}

    def read(self, stored: Mapping[str, Any]) -> None:
        """Go on from what :meth:`stored` returned."""
        self.points, self.stages = [float(v) for v in stored["points"]], [int(v) for v in stored["stages"]]
        self.ended = bool(stored["ended"])

    def _stage(self) -> list[float]:
        return self.points[self.stages[-1] :]

    def _rises(self) -> bool:
        """Whether the present stage is too short to tell, or rises."""
        stage = self._stage()
        wait = max(_WAIT, len(stage) // 2)
        return len(stage) <= wait or max(stage[-wait:]) > max(stage[:-wait]) + self.tolerance

    def _left(self) -> float:
        """What further reductions could bring, by the gain of the last one."""
        here, before = self._stage(), self.points[: self.stages[-1]]
        return (max(here, default=max(before)) - max(before)) * RATE / (1.0 - RATE)
