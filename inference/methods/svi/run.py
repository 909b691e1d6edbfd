"""One start of stochastic variational inference: the training loop, for every model, data source and device."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...data.batch_shapes import check_batch_shapes
from ...data.data import Data
from ...data.feed import Stream
from ...data.observed_values import check_fed
from ...data.transforms import presented
from ...errors import NonFiniteError
from ...objectives.base import Objective
from ...objectives.compatibility import check_pair
from ...objectives.rounding import warn_of_rounding
from ...pair.eager_run import kept_buffers
from ...pair.program import Program
from ...pair.program_errors import explained
from ...run.early_stopping import EarlyStopping, bound_on
from ...run.history import Recorder
from ...run.interrupts import deferred_interrupt
from ...run.progress import Callback, Progress, progress_bar
from ...run.tensorboard import tensorboard_writer
from ...step.distributed import agree, share, synchronise
from ...step.shard import Shard
from ...step.state import StepState
from ...step.tracing import find_restless, still_agrees
from .averages import show_average, shown_parameters
from .batches import make_feed
from .callbacks import Callbacks
from .engine import build_engine
from .initial_pair import as_one_batch, starting_pair
from .non_finite import explain_non_finite, parameters_are_finite
from .snapshot import RunFiles, RunState, load_state, run_identity, take_state
from .svi import SVI

__all__ = ["Outcome", "Run"]

_ON, _STOP, _INTERRUPT = 0, 1, 2


@dataclass
class Outcome:
    """One finished start: the pair, its history, how it ended and the bound by which starts are compared."""

    program: Program
    guide: Any
    rows: list[dict[str, Any]]
    status: str
    info: dict[str, Any]
    bound: float


class Run:
    """Everything that belongs to one sequence of steps."""

    def __init__(
        self,
        svi: SVI,
        model: Any,
        data: Data,
        validation: dict[str, torch.Tensor] | None,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        folder: Path | None,
        callbacks: tuple[Callback, ...],
        shard: Shard | None,
        batch_size: int | None,
    ) -> None:
        self.svi, self.data, self.validation, self.seed = svi, data, validation, seed
        self.device, self.shard = device, shard
        self.leader = shard is None or shard.rank == 0
        assert isinstance(svi.objective, Objective)
        self.objective = svi.objective
        first = presented(svi.transform, model, data.head(batch_size or 1), seed)
        self.program, self.guide = starting_pair(svi, model, data, first, seed, device, dtype)
        synchronise(shard, self.program)
        feed = make_feed(data, batch_size, seed, svi.drop_last, shard)
        mini = isinstance(feed, Stream) or (batch_size is not None and batch_size < data.size)
        seen = presented(svi.transform, self.program.model_owner, feed.batch(0), seed)
        with kept_buffers(self.program):
            if mini:
                shown = partial(presented, svi.transform, None, seed=seed)
                check_batch_shapes(self.program, data, first, seen, shown)
            check_pair(self.program, self.objective, seen, mini, self.guide, shard is not None)
            check_fed(self.program, data, validation, feed, svi.transform, seed)
            warn_of_rounding(self.program, self.objective, seen)
        self.engine = build_engine(svi, self.program, data, feed, seed, device, dtype, shard)
        self.schedules = self.engine.schedule
        self.callbacks = Callbacks(callbacks, self.engine)
        self.recorder = Recorder(data.effective_size(getattr(model, "row_weight", None)))
        self.stopping = EarlyStopping(svi.patience, int(svi.warm_up * svi.steps))
        self.best: StepState | None = None
        self.step, self.seconds, self.step_seconds, self.begin = 0, 0.0, 0.0, 0.0
        self.notes: dict[str, Any] = {}
        self.files = RunFiles(folder if self.leader else None)
        if self.files.folder is not None:
            shapes = dict(self.program.named_parameters())
            self.files.open(run_identity(svi.configuration(), model, data, validation, seed, shapes))
        self.checkpoint_every = svi.checkpoint_every or max(svi.log_every, svi.steps // 20)
        self.validate_every = svi.validate_every or max(svi.log_every, svi.steps // 50)
        self.good = self._state()  # the last one known to be finite

    def train(self, label: str) -> Outcome:
        """Take every step that is left, and say how it ended."""
        status = self._resume()
        if status is None:
            find_restless(self.engine, self.step)
            if self.step == 0:
                self.program.start_again()
            title = " ".join(filter(None, ("SVI", label)))
            with ExitStack() as stack:
                show = self.svi.progress if self.leader else False
                bar = stack.enter_context(progress_bar(title, self.svi.steps, show))
                board = stack.enter_context(tensorboard_writer(self.svi.tensorboard if self.leader else None))
                pressed = stack.enter_context(deferred_interrupt())
                self.begin = time.perf_counter() - self.seconds
                try:
                    with explained():
                        status = self._steps(bar, board, pressed)
                except KeyboardInterrupt:  # in the middle of a step, or from a callback
                    self._restore(self.good)
                    status = "interrupted"
            if status == "interrupted":
                self._interrupted()
            else:
                self._save(self._state(), status)
        return self._outcome(status)

    def _steps(self, bar: Callable[..., None], board: Callable[..., None], pressed: Callable[[], bool]) -> str:
        mark = time.perf_counter()
        while self.step < self.svi.steps:
            if pressed() and self.shard is None:
                self.seconds = time.perf_counter() - self.begin
                return "interrupted"
            mark += self._advance()
            last, logged = self.step == self.svi.steps, self.recorder.step
            if not (last or _crossed(logged, self.step, self.svi.log_every)):
                continue
            row = self._close_interval()
            self.step_seconds += time.perf_counter() - mark
            if self.validation is not None and (last or _crossed(logged, self.step, self.validate_every)):
                self._validate(row)
            row["seconds"] = self.seconds = time.perf_counter() - self.begin
            bar(self.step, f"bound {row['bound_per_datum']:.4g} nats per datum")
            board(row)
            self.good = self._state()
            if not last and _crossed(logged, self.step, self.checkpoint_every):
                self._save(self.good, "running")
            answer = _INTERRUPT if pressed() else _STOP if self._call_back(row) else _ON
            answer = agree(self.shard, answer, self.device)
            if not last and logged.bit_length() != self.step.bit_length():  # seldom: it takes a step of the program
                still_agrees(self.engine, self.step - 1)
            if not last and (answer or self.stopping.should_stop):
                return "interrupted" if answer == _INTERRUPT else "stopped early"
            mark = time.perf_counter()
        return "finished"

    def _advance(self) -> float:
        """Take the next step or block of steps; the seconds that did not go into steps but into preparing them."""
        engine, before = self.engine, time.perf_counter()
        if self.step == 0:
            self.recorder.add(0, engine.eager_step(0, check=True).unsqueeze(0))
            engine.prepare(1)
            self.step = 1
            return time.perf_counter() - before
        if not engine.prepared:
            engine.prepare(self.step)
        spent = time.perf_counter() - before
        limit = self.svi.steps - self.step
        if self.svi.log_every % engine.unroll == 0:  # blocks then end where rows are due
            limit = min(limit, self.svi.log_every - self.step % self.svi.log_every)
        count = engine.block_length(self.step, limit)
        self.recorder.add(self.step, engine.run(self.step, count))
        self.step += count
        return spent

    def _close_interval(self) -> dict[str, Any]:
        """The interval's row; if a bound or a parameter is not finite, say where it began, and keep the good state."""
        since = self.recorder.step
        columns: dict[str, Any] = {"seconds": 0.0, "lr": self.schedules.rate(self.step - 1)}
        if self.objective.is_scheduled:
            columns["weight"] = self.schedules.weight(self.step - 1)
        row, bad = self.recorder.flush(self.step, **columns)
        if bad is None and parameters_are_finite(self.engine):
            show_average(row, self.engine, since, self.step, self.recorder.data_size)
            return row
        step, where = explain_non_finite(self.engine, self.good, self.step if bad is None else bad, self.svi.steps)
        self._restore(self.good)
        kept = ""
        if self.files.folder is not None:
            self._save(self.good, "running")
            kept = f" The state of step {self.good.step} is kept in {self.files.folder}."
        raise NonFiniteError(f"The fit stopped being finite at step {step}: {where}{kept}")

    def _validate(self, row: dict[str, Any]) -> None:
        assert self.validation is not None
        self._write_back()
        value, stderr = bound_on(
            self.program, self.objective, self.validation, seed=self.seed, repeats=self.svi.validation_draws
        )
        row["validation_bound"], row["validation_stderr"] = value, stderr
        if self.stopping.update(self.step, value) and self.svi.patience is not None:
            self.best = self.engine.state.clone()

    def _write_back(self, steps: int | None = None) -> None:
        """Put the parameters of the state, which has seen `steps` steps (the present number by default), in place."""
        self.engine.function.materialise(
            shown_parameters(self.engine, self.step if steps is None else steps), self.engine.state.buffers
        )

    def _call_back(self, row: dict[str, Any]) -> bool:
        if not self.callbacks.callbacks:
            return False
        self._write_back()
        return self.callbacks(Progress(self.step, self.svi.steps, dict(row), self.program))

    def _interrupted(self) -> None:
        """Save the state between two steps, and say so; the returned history gets a row for the open interval."""
        state = self._state()
        if not (parameters_are_finite(self.engine) and bool(torch.isfinite(state.pending).all())):
            state = self.good
            self._restore(state)
        self._save(state, "running")
        if len(state.pending):
            since = self.recorder.step
            row, _ = self.recorder.flush(self.step, seconds=self.seconds, lr=self.schedules.rate(self.step - 1))
            show_average(row, self.engine, since, self.step, self.recorder.data_size)
        if self.leader:
            folder = self.files.folder
            where = "" if folder is None else f" and is saved in {folder}, where the same call goes on from it"
            print(f"Interrupted at step {self.step} of {self.svi.steps}: the fit so far is returned{where}.")

    def _state(self) -> RunState:
        values = self.callbacks.values()
        return take_state(
            self.step, self.engine, self.stopping, self.best, self.recorder, self.seconds, self.step_seconds, values
        )

    def _restore(self, run: RunState) -> None:
        self.engine.load(run.state, run.keys)
        self.stopping, self.best = run.stopping, run.best
        self.recorder.restore(run.rows, run.pending, run.since)
        self.callbacks.load(run.values)
        self.step, self.seconds, self.step_seconds = run.step, run.seconds, run.step_seconds

    def _save(self, run: RunState, status: str) -> None:
        if self.engine.prepared or not self.notes:
            engine = self.engine
            self.notes = {"seconds_compile": engine.compile_seconds, "compile": engine.backend, "unroll": engine.unroll}
        self.files.save(run, status, self.notes)

    def _resume(self) -> str | None:
        """Go on from the newest state; the status of a run that had already ended."""
        found = share(self.shard, self.files.latest(self.svi.steps, self.engine, self.stopping), self.device)
        if found is None:
            return None
        self.good = load_state(found, self.engine.state, self.stopping, self.device)
        self._restore(self.good)
        self.notes = dict(found.state["notes"])
        return str(found.state["status"]) if found.finished else None

    def _outcome(self, status: str) -> Outcome:
        steps = self.step
        if self.best is not None and status != "interrupted":
            self.engine.load(self.best, self.engine.optimizer_keys)
            steps = self.stopping.best_step
        self._write_back(steps)
        bound = float("-inf")
        if self.svi.restarts > 1:
            data = self.validation
            if data is None:
                data = presented(self.svi.transform, self.program.model_owner, as_one_batch(self.data), self.seed)
            bound, _ = bound_on(self.program, self.objective, data, seed=self.seed, repeats=self.svi.validation_draws)
        info = {
            "steps": self.step,
            "seconds": self.seconds,
            "seconds_steps": self.step_seconds,
            "steps_per_second": max(self.step - 1, 1) / self.step_seconds if self.step_seconds else None,
            **self.notes,
            "device": str(self.device),
            "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        }
        return Outcome(self.program, self.guide, self.recorder.rows, status, info, bound)


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every
