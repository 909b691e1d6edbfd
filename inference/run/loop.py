"""The one loop of every method: steps, rows, callbacks, checkpoints, interrupts, and going on where a run was."""

from __future__ import annotations

__all__ = ["Loop"]

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NonFiniteError
from ..pair.program_errors import explained
from ..storage.checkpoint import Checkpoint, CheckpointStore
from .algorithm import Algorithm, Snapshot
from .checkpoint_check import check_progress
from .history import write_history
from .interrupts import deferred_interrupt
from .peers import Peers
from .progress import Callback, Progress, progress_bar
from .tensorboard import tensorboard_writer

_OWN = ("seconds", "status")  # of a checkpoint's values; the others are the algorithm's
_ON, _STOP, _INTERRUPT = 0, 1, 2

Bar = Callable[[int, str], None]


@dataclass(frozen=True)
class _Mark:
    """A state of the run to go back to."""

    step: int
    num_rows: int
    seconds: float
    snapshot: Snapshot


class Loop:
    """Advance an algorithm until its steps are made, it has converged, or a callback or Ctrl-C stops it.

    Args:
        algorithm: what is advanced.
        name: for the progress bar and messages.
        steps: the most steps.
        row_every: steps between rows of the history; the last step always has one.
        checkpoint_every: steps between checkpoints, each made at a row.
        callbacks: called at every row.
        progress: whether to show a bar; None shows it on terminals.
        tensorboard: folder for TensorBoard event files, or None.
        peers: the processes that make the run together.

    Attributes:
        step: steps made.
        seconds: time so far, those of earlier sittings included.
        rows: the history.
        status: ``"running"``, then ``"finished"``, ``"stopped early"`` or ``"interrupted"``.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        *,
        name: str,
        steps: int,
        row_every: int,
        checkpoint_every: int,
        callbacks: tuple[Callback, ...] = (),
        progress: bool | None = None,
        tensorboard: str | Path | None = None,
        peers: Peers | None = None,
    ) -> None:
        self.algorithm, self.name, self.steps = algorithm, name, steps
        self.row_every, self.checkpoint_every = row_every, checkpoint_every
        self.callbacks, self.peers = callbacks, peers or Peers()
        self.progress, self.tensorboard = (progress, tensorboard) if self.peers.leader else (False, None)
        self.step, self.seconds, self.status = 0, 0.0, "running"
        self.rows: list[dict[str, Any]] = []
        self._store: CheckpointStore | None = None
        self._begin = 0.0
        self._good: _Mark | None = None  # of a restorable algorithm, the newest row's

    def keep_in(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Keep the run's state in `folder`.

        Raises:
            CheckpointError: if the folder cannot be written.
        """
        self._store = CheckpointStore(folder, identity)

    def run(self) -> None:
        """Go on from the newest state, if there is one, and make the steps that are left.

        Raises:
            CheckpointError: if the folder holds another run, or no readable state of this one.
            NonFiniteError: from the algorithm, with where the last good state is kept.
        """
        found = self.peers.share(None if self._store is None else self._store.latest(self._check))
        if found is not None:
            self.step, self.rows = found.step, list(found.history)
            self.seconds, self.status = found.state["seconds"], found.state["status"]
            self.algorithm.load(_snapshot(found), self.rows)
        if self.status != "running":
            return
        self._remember()
        with ExitStack() as stack:
            bar = stack.enter_context(progress_bar(self.name, self.steps, self.progress))
            board = stack.enter_context(tensorboard_writer(self.tensorboard))
            pressed = stack.enter_context(deferred_interrupt())
            self._begin = time.perf_counter() - self.seconds
            try:
                with explained():
                    first = self.algorithm.start()
                    if first is not None and not self.rows:
                        self._record(first)
                    self.status = self._advance(bar, board, pressed)
            except NonFiniteError as error:
                told = self._broken(error)
                if told is error:
                    raise
                raise told from error
            except KeyboardInterrupt:  # in the middle of a step, or from a callback
                if self._good is None:
                    raise
                self._go_back()
                self.status = "interrupted"
        if self.status == "interrupted":
            self._interrupted()
        else:
            self._save(self.status)

    def _check(self, found: Checkpoint) -> None:
        check_progress(found, self.steps, "seconds")
        self.algorithm.check(_snapshot(found), found.history)

    def _advance(self, bar: Bar, board: Callable[[dict[str, Any]], None], pressed: Callable[[], bool]) -> str:
        if self.rows and self.algorithm.restorable and self.algorithm.converged():
            return "finished"  # it was killed before that was written
        while self.step < self.steps:
            if pressed() and self.peers.alone:
                self.seconds = time.perf_counter() - self._begin
                return "interrupted"
            before, logged = self.step, self._logged
            self.step += self.algorithm.advance(self.step, self.steps - self.step)
            last = self.step == self.steps
            if not last and before // self.row_every == self.step // self.row_every:
                continue
            if self.algorithm.restorable and self.peers.agree(int(self.algorithm.failed())):
                failed = self.step
                self._go_back()
                self.algorithm.take_back(failed)
                self._remember()
                continue
            row = self._record(self.algorithm.row(self.step))
            bar(self.step, _headline(row))
            board(row)
            snapshot = self._remember()
            if not last and logged // self.checkpoint_every != self.step // self.checkpoint_every:
                self._save("running", snapshot)
            answer = _INTERRUPT if pressed() else _STOP if self._call(row) else _ON
            answer = self.peers.agree(answer)
            if self.algorithm.converged():
                return "finished"
            if answer and not last:
                return "interrupted" if answer == _INTERRUPT else "stopped early"
        return "finished"

    def _call(self, row: Mapping[str, Any]) -> bool:
        return self.algorithm.call(self.callbacks, Progress(self.step, self.steps, dict(row), self.algorithm.program))

    @property
    def _logged(self) -> int:
        """The step of the newest row."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def _record(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        self.seconds = time.perf_counter() - self._begin
        row = {"step": self.step, **columns, "seconds": self.seconds}
        self.rows.append(row)
        return row

    def _remember(self) -> Snapshot | None:
        """Keep the present state of a restorable algorithm, to go back to."""
        if not self.algorithm.restorable:
            return None
        snapshot = self.algorithm.state()
        self._good = _Mark(self.step, len(self.rows), self.seconds, snapshot)
        return snapshot

    def _go_back(self) -> None:
        good = self._good
        assert good is not None
        self.rows = self.rows[: good.num_rows]
        self.algorithm.load(good.snapshot, self.rows)
        self.step, self.seconds = good.step, good.seconds

    def _broken(self, error: NonFiniteError) -> NonFiniteError:
        """The error, with where the last good state is; a restorable algorithm is back in it, and it is saved."""
        began = self.step > 0
        if self._good is not None:
            self._go_back()
        if self._store is None or not began:
            return error
        if self._good is None:
            return NonFiniteError(f"{error} Earlier states are kept in {self._store.folder}.")
        self._save("running", self._good.snapshot)
        return NonFiniteError(f"{error} The state of step {self.step} is kept in {self._store.folder}.")

    def _interrupted(self) -> None:
        """Save the state between two steps, and say so; the returned history gets a row for the open interval."""
        if self._good is not None and not self.algorithm.sound():
            self._go_back()
        self._save("running")
        if self.step > self._logged:
            self._record(self.algorithm.row(self.step))
        if self.peers.leader:
            where = ""
            if self._store is not None:
                where = f" and is saved in {self._store.folder}, where the same call goes on from it"
            print(f"Interrupted at step {self.step} of {self.steps}: the fit so far is returned{where}.")

    def _save(self, status: str, snapshot: Snapshot | None = None) -> None:
        if self._store is None:
            return
        snapshot = snapshot or self.algorithm.state()
        tensors = {name: value.detach().cpu() for name, value in snapshot.tensors.items()}
        state = {**snapshot.values, "seconds": self.seconds, "status": status}
        self._store.save(self.step, tensors, state, self.rows, finished=status != "running")
        write_history(self._store.folder / "history.csv", self.rows)


def _snapshot(found: Checkpoint) -> Snapshot:
    values = {name: value for name, value in found.state.items() if name not in _OWN}
    return Snapshot(found.tensors, {**values, "step": found.step})


def _headline(row: Mapping[str, Any]) -> str:
    """What the progress bar says of a row."""
    if "bound_per_datum" in row:
        return f"bound {row['bound_per_datum']:.6g} nats per datum"
    return f"loss {row['loss']:.6g}"
