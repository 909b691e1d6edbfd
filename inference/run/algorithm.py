"""`Algorithm`, what the loop advances: start, advance, row, state, finish."""

from __future__ import annotations

__all__ = ["Algorithm", "FitParts", "Snapshot"]

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..pair.program import Program
from .convergence import Verdict
from .progress import Callback, Progress

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Snapshot:
    """The state of an algorithm between two steps: tensors by name, and plain values that JSON can hold."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FitParts:
    """What an algorithm leaves behind.

    Attributes:
        program: the pair, whose model is the fitted one.
        guide: the fitted guide, or None.
        bound: by which independent starts are compared, in nats; None where there is none.
        draws: of the latents, by site, where the method makes draws.
        sample_stats: of each draw, where the method makes draws.
        verdict: whether the fit has come to rest; None leaves that to its history.
        info: what :attr:`jensen.inference.Fit.info` should say beside steps and seconds.
    """

    program: Program
    guide: Any = None
    bound: float | None = None
    draws: dict[str, Tensor] | None = None
    sample_stats: dict[str, Tensor] | None = None
    verdict: Verdict | None = None
    info: dict[str, Any] = field(default_factory=dict)


class Algorithm(abc.ABC):
    """One start of a method, advanced by a :class:`~jensen.inference.run.loop.Loop`. Abstract.

    Attributes:
        program: the pair, shown to callbacks.
        restorable: whether the loop keeps the state of the newest row, to go back to when something breaks.
        most_steps: the most steps, where the algorithm chooses it; None for the method's own.
    """

    program: Program
    restorable: bool = False
    most_steps: int | None = None

    @property
    def shapes(self) -> Mapping[str, Tensor]:
        """What must have the same names and shapes when a run goes on."""
        return self.program.state_dict()

    def start(self) -> dict[str, Any] | None:
        """Prepare the next step at the present state, also after a resume; the row of the start, where it is known."""
        return None

    @abc.abstractmethod
    def advance(self, step: int, most: int) -> int:
        """Take at least one and at most `most` steps from number `step` (of 0) on; how many."""

    @abc.abstractmethod
    def row(self, step: int) -> dict[str, Any]:
        """The history's row after `step` steps, without the step and the time: means since the last row, or values.

        Raises:
            NonFiniteError: if what the method climbs or descends is not finite.
        """

    def call(self, callbacks: tuple[Callback, ...], progress: Progress) -> bool:
        """Call every callback, at a row that the fit goes on from; whether one asks to stop."""
        answers = [callback(progress) for callback in callbacks]
        return any(answer is True for answer in answers)

    def converged(self) -> bool:
        """Whether, by the rows so far, nothing is left to do."""
        return False

    def failed(self) -> bool:
        """Whether the steps since the newest row are to be undone, and made again otherwise (of a restorable one)."""
        return False

    def take_back(self, failed: int) -> None:
        """Change what made the steps until `failed` fail, which are undone; the state is that of the newest row."""
        raise NotImplementedError

    def sound(self) -> bool:
        """Whether the present state, between two rows, may be gone on from."""
        return True

    @abc.abstractmethod
    def state(self) -> Snapshot:
        """The present state, all that the next step depends on; of a restorable one a copy."""

    @abc.abstractmethod
    def check(self, snapshot: Snapshot, rows: Rows) -> None:
        """Raise whatever fits if `snapshot` and the history's rows cannot be this algorithm's; nothing is changed."""

    @abc.abstractmethod
    def load(self, snapshot: Snapshot, rows: Rows) -> None:
        """Go on from `snapshot`, which :meth:`state` returned when the history had these rows."""

    @abc.abstractmethod
    def finish(self, status: str) -> FitParts:
        """Leave the pair as the fit should hold it, of a run that ended with this status."""
