"""One start of a fit by closed-form updates: update, record, stop when the bound no longer rises."""

from __future__ import annotations

import abc
import itertools
import math
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from ..errors import NonFiniteError
from ..objectives import Trace_ELBO
from ..pair.program import Program
from ..run.early_stopping import bound_on
from ..run.history import write_history
from ..run.interrupts import deferred_interrupt
from ..run.progress import Callback, Progress, progress_bar
from ..storage.checkpoint import Checkpoint, CheckpointStore
from .svi.snapshot_check import check_progress, check_tensors

__all__ = ["AscentRun", "Updates"]

_ROUNDING = 4  # units of rounding by which bounds of the same parameters may differ
_LONGEST = 50  # updates over which a rise is averaged, at most


class Updates(abc.ABC):
    """What a method does to a pair, one update after another.

    Attributes:
        program: the pair; its ``state_dict`` is the whole state.
        guide: the pair's guide.
        monotone: whether every update must raise the bound.
        data_size: the number of data that the bound is of; None for those given.
    """

    program: Program
    guide: Any
    monotone: bool = True
    data_size: int | None = None

    def start(self) -> torch.Tensor | None:
        """Prepare the next update at the present state, also after a resume; the bound there, where it is known."""
        return None

    @abc.abstractmethod
    def update(self, step: int) -> torch.Tensor:
        """Make update number `step` (from 0), in place; the bound after it, ``()``, a total over the data in nats."""

    def finish(self) -> None:  # noqa: B027  (most have nothing to do)
        """Leave the pair as the fit should hold it."""


class AscentRun:
    """Update until the bound per datum rises by less than the tolerance.

    Attributes:
        step: updates made.
        rows: of the history; the first is the start, where its bound is known.
        status: ``"finished"``, ``"stopped early"`` or ``"interrupted"``; converged: whether the tolerance was reached.
    """

    def __init__(
        self,
        updates: Updates,
        *,
        name: str,
        data_size: float,
        steps: int,
        tolerance: float,
        checkpoint_every: int,
        validation: Mapping[str, torch.Tensor] | None,
        callbacks: tuple[Callback, ...],
        progress: bool | None,
    ) -> None:
        self.updates, self.name, self.steps = updates, name, steps
        self.data_size = updates.data_size or data_size
        self.tolerance, self.checkpoint_every, self.validation = tolerance, checkpoint_every, validation
        self.callbacks, self.progress = callbacks, progress
        self.step, self.seconds, self.converged, self.status = 0, 0.0, False, "running"
        self.rows: list[dict[str, Any]] = []
        self._store: CheckpointStore | None = None
        self._best: list[float] = []  # bound up to each row
        self._eps = 0.0  # of the number type that the bound comes in
        self._fell = False

    @property
    def final_bound(self) -> float:
        """The bound in the newest row."""
        return float(self.rows[-1]["bound"]) if self.rows else math.nan

    def keep_in(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Keep the run's state in `folder`, and go on from the one that is there.

        Raises:
            CheckpointError: if the folder cannot be written, or holds another run.
        """
        self._store = CheckpointStore(folder, identity)
        if (found := self._store.latest(self._check)) is None:
            return
        self.updates.program.load_state_dict(dict(found.tensors))
        self.step, self.rows = found.step, list(found.history)
        self._best = list(itertools.accumulate((row["bound"] for row in self.rows), max))
        self.seconds, self.converged = found.state["seconds"], found.state["converged"]
        self.status = found.state["status"]

    def _check(self, found: Checkpoint) -> None:
        check_progress(found, self.steps, "seconds", "converged")
        check_tensors(found.tensors, self.updates.program.state_dict())
        for row in found.history:
            float(row["bound"])

    def train(self) -> None:
        """Make the updates that are left."""
        if self.status != "running":
            return
        with ExitStack() as stack:
            bar = stack.enter_context(progress_bar(self.name, self.steps, self.progress))
            pressed = stack.enter_context(deferred_interrupt())
            begin = time.perf_counter() - self.seconds
            bound = self.updates.start()
            if not self.rows and bound is not None:
                self._record(float(bound), begin)
            self.status = self._updates(bar, pressed, begin)
        self._save(self.status if self.status != "interrupted" else "running")
        if self.status == "interrupted":
            where = "" if self._store is None else f" and is saved in {self._store.folder}"
            print(f"Interrupted after update {self.step} of {self.steps}: the fit so far is returned{where}.")

    def _updates(self, bar: Callable[[int, str], None], pressed: Callable[[], bool], begin: float) -> str:
        while self.step < self.steps:
            if pressed():
                return "interrupted"
            before = self.final_bound
            value = self.updates.update(self.step)
            bound, self._eps = float(value), torch.finfo(value.dtype).eps
            self.step += 1
            row = self._record(bound, begin)
            bar(self.step, f"bound {row['bound_per_datum']:.6g} nats per datum")
            self._check_rise(before, bound)
            if self.updates.monotone and self._has_settled():
                self.converged = True
                return "finished"
            if self.step < self.steps and self.step % self.checkpoint_every == 0:
                self._save("running")
            progress = Progress(self.step, self.steps, dict(row), self.updates.program)
            answers = [callback(progress) for callback in self.callbacks]  # every one is called
            if any(answer is True for answer in answers):
                return "stopped early"
        return "finished"

    def _record(self, bound: float, begin: float) -> dict[str, Any]:
        if not math.isfinite(bound):
            kept = "" if self._store is None else f" Earlier states are kept in {self._store.folder}."
            raise NonFiniteError(
                f"{self.name}: the bound is {bound} after update {self.step}. Look for constant columns or outliers in "
                f"the data, or standardise them.{kept}"
            )
        self.seconds = time.perf_counter() - begin
        row = {"step": self.step, "bound": bound, "bound_per_datum": bound / self.data_size, "loss": -bound}
        if self.validation is not None:
            program = self.updates.program
            value, stderr = bound_on(program, Trace_ELBO(), self.validation, seed=0)
            row |= {"validation_bound": value, "validation_stderr": stderr}
        row["seconds"] = self.seconds
        self.rows.append(row)
        self._best.append(max([bound, *self._best[-1:]]))
        return row

    def _has_settled(self) -> bool:
        r"""Whether the best bound rises by less than the tolerance, per datum and update, in nats.

        Rises below the bound's own rounding cannot be seen from one update to the next: with a rounding of
        :math:`\rho` nats a datum they are averaged over :math:`\rho / \text{tolerance}` updates.
        """
        bound = self.final_bound
        rounding = _ROUNDING * self._eps * abs(bound) / self.data_size
        window = max(1, min(_LONGEST, math.ceil(rounding / self.tolerance)))
        if len(self._best) <= window:
            return False
        least = max(self.tolerance * window, rounding) * self.data_size
        fall = self._best[-1] - bound  # one beyond rounding is a fault, and no end
        return self._best[-1] - self._best[-1 - window] < least and fall <= self._slack(bound)

    def _slack(self, bound: float) -> float:
        """What a bound near this one may fall by rounding, with room for that of the parameters, or without notice."""
        rounding = 1_000 * torch.finfo(torch.get_default_dtype()).eps * max(abs(bound), self.data_size)
        return max(rounding, self.tolerance * self.data_size)

    def _check_rise(self, before: float, bound: float) -> None:
        if self.updates.monotone and not self._fell and bound < before - self._slack(before):
            self._fell = True  # once is enough
            wide = torch.get_default_dtype() == torch.float64
            warnings.warn(
                f"{self.name}: the bound fell from {before:.8g} to {bound:.8g} at update {self.step}. Each update of "
                f"`{type(self.updates.program.model_owner).__name__}` must raise it. Its closed forms do not "
                f"agree{'' if wide else ', or these data need `dtype=torch.float64`'}.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _save(self, status: str) -> None:
        if self._store is None:
            return
        tensors = {name: value.detach().cpu() for name, value in self.updates.program.state_dict().items()}
        state = {"seconds": self.seconds, "converged": self.converged, "status": status}
        self._store.save(self.step, tensors, state, self.rows, finished=status != "running")
        write_history(self._store.folder / "history.csv", self.rows)
