"""One start of stochastic variational inference, as the loop advances it: for every model, data source and device."""

from __future__ import annotations

__all__ = ["StochasticAscent"]

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ...data.base import Data
from ...data.transforms import apply_transform
from ...errors import NonFiniteError
from ...guides.whitened import fold
from ...objectives.base import Objective
from ...run.algorithm import Algorithm, FitParts, Snapshot
from ...run.early_stopping import EarlyStopping, bound_on
from ...run.history import Recorder
from ...run.progress import Callback, Progress
from ...step.distributed import synchronise
from ...step.shard import Shard
from ...step.state import StepState
from ...step.tracing import find_restless
from ...tensors import Tensors, num_rows
from .auto import auto_steps, expected_steps, resolved, validate_every
from .averages import show_average, shown_parameters
from .batches import make_feed
from .callbacks import Callbacks
from .checks import check_start
from .engine import build_engine
from .initial_pair import as_one_batch, starting_pair
from .non_finite import explain_non_finite, parameters_are_finite
from .options import SVIOptions
from .snapshot import StepSnapshot, check_snapshot, read_snapshot, write_snapshot


class StochasticAscent(Algorithm):
    """Steps up a bound by noisy gradients, as fast as the program allows.

    Args:
        svi: the configuration.
        model: the model, of which a copy is fitted.
        data: the training data.
        validation: data whose bound is logged and watched, as one batch.
        seed: of this start.
        shard: this process's part of a data-parallel run, or None.
        batch_size: data per step, over all processes; None for a `DataLoader`, which brings its own.
    """

    restorable = True

    def __init__(
        self,
        svi: SVIOptions,
        model: Any,
        data: Data,
        validation: Tensors | None,
        seed: int,
        shard: Shard | None,
        batch_size: int | None,
    ) -> None:
        self.data, self.validation, self.seed = data, validation, seed
        self.device, dtype = torch.get_default_device(), torch.get_default_dtype()
        assert isinstance(svi.objective, Objective)
        self.objective = svi.objective
        first = apply_transform(svi.transform, model, data.head(batch_size or 1), seed)
        self.program, self.guide, self.start_info = starting_pair(svi, model, data, first, seed, self.device, dtype)
        given, svi = svi, resolved(svi, self.program)
        self.svi, self.most_steps, expected = svi, svi.steps, expected_steps(given, svi.steps, self.start_info)
        synchronise(shard, self.program)
        feed = make_feed(data, batch_size, seed, svi.drop_last, shard)
        sharded = shard is not None
        check_start(svi, self.program, self.guide, data, validation, feed, first, batch_size, seed, sharded)
        self.engine = build_engine(svi, self.program, data, feed, seed, self.device, dtype, shard, expected)
        held_out = None if validation is None else num_rows(validation)
        self.auto = auto_steps(given, self.engine, self.start_info, data.size, held_out)
        self.callbacks = Callbacks((), self.engine)
        self.recorder = Recorder(data.effective_size(getattr(model, "row_weight", None)))
        self.stopping = EarlyStopping(svi.patience, int(svi.warm_up * expected))
        self.validate_every = validate_every(given)
        self.best: StepState | None = None
        self.step, self.logged, self.before = 0, 0, 0  # steps made; those at the newest row and at the one before
        self.step_seconds = 0.0
        self.notes: dict[str, Any] = {}
        self._mark: float | None = None  # when the interval's steps began, later by what else it held
        self._good: StepSnapshot | None = None  # the last state known to be finite: the loop asks for it at every row

    @property
    def shapes(self) -> Mapping[str, torch.Tensor]:
        return dict(self.program.named_parameters())

    def start(self) -> None:
        find_restless(self.engine, self.step)
        if self.step == 0:
            self.program.start_again()

    def advance(self, step: int, most: int) -> int:
        begin = time.perf_counter()
        self._mark = begin if self._mark is None else self._mark
        if step == 0:
            self.recorder.add(0, self.engine.first_step().unsqueeze(0))
            self.engine.prepare(1)
            count = 1
            self._mark += time.perf_counter() - begin
        else:
            if not self.engine.prepared:
                self.engine.prepare(step)
                self._mark += time.perf_counter() - begin
            if self.engine.can_stop_every(self.svi.log_every):  # calls then end where rows are due
                most = min(most, self.svi.log_every - step % self.svi.log_every)
            count = self.engine.block_length(step, most)
            self.recorder.add(step, self.engine.run(step, count))
        self.step = step + count
        return count

    def row(self, step: int) -> dict[str, Any]:
        """The interval's row; if a bound or a parameter is not finite, an error that says where that began."""
        columns: dict[str, Any] = {"lr": self.engine.schedule.rate(step - 1)}
        if self.objective.is_scheduled:
            columns["weight"] = self.engine.schedule.weight(step - 1)
        values, _ = self.recorder.pending()
        row, bad = self.recorder.flush(**columns)
        if bad is not None or not parameters_are_finite(self.engine):
            assert self._good is not None
            where = step if bad is None else bad
            at, reason = explain_non_finite(self.engine, self._good, where, self.svi.steps)
            raise NonFiniteError(f"The fit stopped being finite at step {at}: {reason}")
        show_average(row, self.engine, self.logged, step, self.recorder.data_size)
        self.step_seconds += time.perf_counter() - (self._mark or 0.0)
        self._mark = None
        due = step == self.svi.steps or self.logged // self.validate_every != step // self.validate_every
        if self.validation is not None and due:
            row |= self._validate(step)
        held_out = row.get("validation_bound") if step >= self.stopping.warm_up else None
        if self.auto.row(values, step, held_out) and self.best is not None:
            self.engine.load(self.best, self.engine.optimizer_keys)
        self.before, self.logged = self.logged, step
        return row

    def call(self, callbacks: tuple[Callback, ...], progress: Progress) -> bool:
        stop = False
        if callbacks:
            self._write_back(self.step)
            self.callbacks.callbacks = callbacks
            stop = self.callbacks(progress)
        if self.step < self.svi.steps and self.before.bit_length() != self.step.bit_length():
            self.engine.still_agrees(self.step - 1)  # seldom: it takes a step of the program
        return stop or self.stopping.should_stop

    def converged(self) -> bool:
        return self.auto.done

    def failed(self) -> bool:
        return self.auto.failed(self.recorder.pending()[0], self.sound())

    def take_back(self, failed: int) -> None:
        self.auto.take_back(self.step, failed)

    def sound(self) -> bool:
        pending, _ = self.recorder.pending()
        return parameters_are_finite(self.engine) and bool(torch.isfinite(pending).all())

    def state(self) -> Snapshot:
        if self.engine.prepared or not self.notes:
            engine = self.engine
            self.notes = {"seconds_compile": engine.compile_seconds, "compile": engine.backend}
        self._good = self._snapshot()
        return write_snapshot(self._good)

    def check(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        check_snapshot(snapshot, self.engine, self.stopping)
        self.auto.check(snapshot.values.get("auto", {}))

    def load(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        self._good = found = read_snapshot(snapshot, self.engine.state, self.stopping, self.device)
        self.engine.load(found.state, found.keys)
        self.stopping, self.best = found.stopping, found.best
        self.recorder.restore(found.pending, found.since)
        self.callbacks.load(found.values)
        self.logged = int(rows[-1]["step"]) if rows else 0
        self.step = found.step
        self.step_seconds, self.notes, self._mark = found.step_seconds, dict(found.notes), None
        self.auto.read(found.auto, found.rows)

    def finish(self, status: str) -> FitParts:
        steps = self.step
        if self.best is not None and status != "interrupted":
            self.engine.load(self.best, self.engine.optimizer_keys)
            steps = self.stopping.best_step
        self._write_back(steps)
        if self.best is None and self.svi.average is None and status == "finished":
            if (mean := self.auto.average()) is not None:
                self.engine.function.materialise(self.engine.function.pack(mean), self.engine.state.buffers)
        bound = None
        if self.svi.restarts > 1:
            data = self.validation
            if data is None:
                whole = as_one_batch(self.data)
                data = apply_transform(self.svi.transform, self.program.model_owner, whole, self.seed)
            bound, _ = self._bound_on(data)
        fold(self.guide)
        info = {
            "start": self.start_info,
            "seconds_steps": self.step_seconds,
            "steps_per_second": max(self.step - 1, 1) / self.step_seconds if self.step_seconds else None,
            **self.notes,
        }
        if self.auto.retries:
            info["step_backs"] = self.auto.backs
        return FitParts(self.program, self.guide, bound, verdict=self.auto.verdict(), info=info)

    def _validate(self, step: int) -> dict[str, float]:
        assert self.validation is not None
        self._write_back(step)
        value, stderr = self._bound_on(self.validation)
        if self.stopping.update(step, value) and (self.svi.patience is not None or self.auto.keeps_best):
            self.best = self.engine.state.clone()
        return {"validation_bound": value, "validation_stderr": stderr}

    def _bound_on(self, data: Tensors) -> tuple[float, float]:
        return bound_on(self.program, self.objective, data, seed=self.seed, repeats=self.svi.validation_draws)

    def _write_back(self, steps: int) -> None:
        """Put the parameters of the state, which has seen `steps` steps, in place."""
        self.engine.function.materialise(shown_parameters(self.engine, steps), self.engine.state.buffers)

    def _snapshot(self) -> StepSnapshot:
        """A copy of the present state, that later steps do not touch."""
        pending, since = self.recorder.pending()
        return StepSnapshot(
            step=self.step,
            state=self.engine.state.clone(),
            keys=self.engine.optimizer_keys,
            stopping=replace(self.stopping),
            best=self.best,
            pending=pending,
            since=since,
            step_seconds=self.step_seconds,
            values=self.callbacks.values(),
            notes=dict(self.notes),
            rows=self.auto.rows,
            auto=self.auto.stored(),
        )
