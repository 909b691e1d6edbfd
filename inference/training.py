"""The training loop: the only one, for every model, objective, data source, device and way of compiling."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoint import CheckpointStore
from .data import Data, MemoryData, as_data
from .data_stream import LoaderData
from .devices import resolve_device, run_on
from .distributed import current_shard
from .early_stopping import EarlyStopping, bound_on
from .errors import ConfigurationError, DataError, NonFiniteError
from .fit import Fit
from .guides import build_guide
from .lr_schedules import LearningRates
from .objectives.base import Objective
from .pair_checks import check_pair
from .program import Program
from .progress import Callback, Progress, progress_bar
from .recorder import Recorder
from .sampler import BatchSampler
from .seeding import derive_seed
from .step.checks import first_bad_site
from .step.engine import Engine
from .step.feed import Feed, FullBatch, MiniBatches, Stream
from .step.function import StepFunction
from .step.shard import Shard
from .step.state import StepState
from .step.update import ELEMENTWISE, Update
from .storage import fingerprint
from .svi import SVI

__all__ = ["run_svi"]

_FLAT_LIMIT = 1 << 16  # parameters up to which one vector is cheaper than many tensors
_TINY_WORK = 2e6  # numbers touched per step below which a second thread costs more than it gives


@dataclass
class _Outcome:
    """One finished start: the pair, its history and how it ended."""

    program: Program
    guide: Any
    rows: list[dict[str, Any]]
    status: str
    info: dict[str, Any]
    bound: float


def run_svi(
    svi: SVI,
    model: Any,
    data: Any,
    seed: int,
    validation: Any,
    checkpoint: str | Path | None,
    callbacks: tuple[Callback, ...],
) -> Fit:
    """Run every start and return the best as a `Fit`; see :meth:`jensen.inference.SVI.fit`."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigurationError(f"`seed` must be a whole number, got {seed!r}.")
    shard = current_shard(svi.device)
    device = resolve_device(svi.device)
    dtype = svi.dtype or torch.get_default_dtype()
    if svi.patience is not None and validation is None:
        raise ConfigurationError("`patience` watches the bound on validation data: pass `validation=…` to `fit`.")
    with ExitStack() as stack:
        stack.enter_context(run_on(device, dtype))
        train = as_data(model, data, dtype=dtype, device=device, check=svi.transform is None)
        held_out = None if validation is None else as_data(model, validation, dtype=dtype, device=device).batch()
        batch_size = None if isinstance(train, LoaderData) else train.check_batch_size(svi.batch_size)
        _use_threads(stack, svi.threads, train, batch_size, device)
        outcomes: list[_Outcome] = []
        for start in range(svi.restarts):
            folder = None if checkpoint is None else Path(checkpoint)
            if folder is not None and svi.restarts > 1:
                folder = folder / f"start-{start}"
            own_seed = seed if start == 0 else derive_seed(seed, "restart", start)
            run = _Run(svi, model, train, held_out, own_seed, device, dtype, folder, callbacks, shard, batch_size)
            outcomes.append(run.train(f"start {start + 1}/{svi.restarts}" if svi.restarts > 1 else ""))
            if outcomes[-1].status == "interrupted":
                break
    best = max(outcomes, key=lambda outcome: outcome.bound)
    return _as_fit(svi, best, outcomes, train, seed)


def _as_fit(svi: SVI, best: _Outcome, outcomes: list[_Outcome], train: Data, seed: int) -> Fit:
    import pandas

    info = dict(best.info)
    if len(outcomes) > 1:
        info["restart_bounds"] = [outcome.bound for outcome in outcomes]
    return Fit(
        method="SVI",
        config=svi.configuration(),
        model=best.program.model_owner,
        guide=best.guide,
        history=pandas.DataFrame(best.rows),
        seed=seed,
        data=presented(svi, best.program.model_owner, train.tensors, seed) if isinstance(train, MemoryData) else None,
        data_size=train.size,
        status=best.status,
        info=info,
        prototype={k: v.clone() for k, v in presented(svi, best.program.model_owner, train.head(1), seed).items()},
        program=best.program.eval(),
    )


def _use_threads(
    stack: ExitStack, threads: int | None, train: Data, batch_size: int | None, device: torch.device
) -> None:
    """One thread for tiny problems, unless told otherwise; the caller's number is restored."""
    before = torch.get_num_threads()
    if threads is None and device.type == "cpu" and isinstance(train, MemoryData):
        rows = batch_size or train.size
        work = sum(value[:1].numel() for value in train.tensors.values()) * rows
        threads = 1 if work * 30 < _TINY_WORK else None
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, before)


class _Run:
    """One start: everything that belongs to one sequence of steps."""

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
        self.device, self.callbacks, self.shard = device, callbacks, shard
        assert isinstance(svi.objective, Objective)
        self.objective = svi.objective
        first = presented(svi, model, data.head(batch_size or 1), seed)
        self.program, self.guide = _build_pair(svi, model, data, first, seed, device, dtype)
        feed = self._feed(batch_size)
        self.mini = isinstance(feed, Stream) or (batch_size is not None and batch_size < data.size)
        seen = presented(svi, self.program.model_owner, feed.batch(0), seed)
        check_pair(self.program, self.objective, seen, self.mini, self.guide, shard is not None)
        flat = getattr(svi.optimizer, "__name__", "") in ELEMENTWISE
        flat = flat and sum(p.numel() for p in self.program.parameters()) <= _FLAT_LIMIT
        function = StepFunction(
            self.program,
            self.objective,
            data_size=data.size,
            transform=svi.transform,
            precision=svi.precision,
            flat=flat,
            batch_size=None if shard is None else (batch_size or data.size),
            share=1.0 if shard is None else 1.0 / shard.size,
        )
        if not function.names:
            raise ConfigurationError(
                "There is nothing to fit: neither the model nor the guide has a trainable parameter."
            )
        self.rates = LearningRates(svi.lr, svi.lr_schedule, svi.steps)
        self._constant_rows: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.engine = Engine(
            function,
            Update(svi.build_optimizer, svi.lr, svi.clip_norm, svi.average),
            feed,
            seed=seed,
            steps=svi.steps,
            compile=svi.compile,
            schedule=self._schedule,
            scheduled_lr=self.rates.changes,
            device=device,
            dtype=dtype,
            shard=shard,
        )
        self.recorder = Recorder(data.size)
        self.stopping = EarlyStopping(svi.patience, int(svi.warm_up * svi.steps))
        self.best: StepState | None = None
        self.good: tuple[int, StepState] = (0, self.engine.state.clone())
        self.seconds = self.step_seconds = 0.0
        self.step = 0
        leader = shard is None or shard.rank == 0
        config = {**svi.configuration(), "seed": seed, "data_size": data.size, "model": type(model).__qualname__}
        if isinstance(data, MemoryData) and folder is not None:
            config["data"] = fingerprint(data.tensors)
        self.store = CheckpointStore(folder, config) if folder is not None and leader else None
        self.checkpoint_every = svi.checkpoint_every or max(svi.log_every, svi.steps // 20)
        self.validate_every = svi.validate_every or max(svi.log_every, svi.steps // 50)

    def _feed(self, batch_size: int | None) -> Feed:
        data, shard = self.data, self.shard
        rows = None if shard is None else shard.rows
        if isinstance(data, LoaderData):
            return Stream(lambda step: data.stream(self.seed, step), rows)
        assert batch_size is not None
        sampler = BatchSampler(data.size, batch_size, derive_seed(self.seed, "batches"), self.svi.drop_last)
        if shard is not None and batch_size < data.size and sampler.ragged_size != batch_size:
            raise ConfigurationError(
                f"A data-parallel run needs batches of one size: {data.size} data do not divide into batches of "
                f"{batch_size}. Pass `drop_last=True`."
            )
        if not isinstance(data, MemoryData):

            def gather(step: int) -> Iterator[dict[str, torch.Tensor]]:
                while True:
                    yield data.batch(sampler.indices(step))
                    step += 1

            return Stream(gather, rows)
        if batch_size == data.size:
            return FullBatch(data.tensors if rows is None else {k: v[rows(data.size)] for k, v in data.tensors.items()})
        return MiniBatches(data.tensors, sampler, rows)

    def _schedule(self, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Annealing weights and learning rates of the steps from `start` on, as tensors on the device."""
        if not (self.objective.is_scheduled or self.rates.changes) and count in self._constant_rows:
            return self._constant_rows[count]
        last = max(self.svi.steps - 1, 1)
        weights = [self.objective.schedule(min((start + i) / last, 1.0)) for i in range(count)]
        rates = [self.rates(start + i) for i in range(count)]
        dtype = torch.get_default_dtype()
        rows = (
            torch.tensor(weights, dtype=dtype, device=self.device),
            torch.tensor(rates, dtype=dtype, device=self.device),
        )
        if not (self.objective.is_scheduled or self.rates.changes):
            self._constant_rows[count] = rows
        return rows

    def train(self, label: str) -> _Outcome:
        svi = self.svi
        done = self._resume()
        status = done or "finished"
        title = " ".join(filter(None, ("SVI", label)))
        if done is None:
            with ExitStack() as stack:
                bar = stack.enter_context(progress_bar(title, svi.steps, svi.progress))
                board = stack.enter_context(_board(svi.tensorboard))
                try:
                    status = self._steps(bar, board)
                except KeyboardInterrupt:
                    status = "interrupted"
                    self._save(final=False)
                    where = f" and saved in {self.store.folder}" if self.store is not None else ""
                    print(f"Interrupted at step {self.step} of {svi.steps}: the fit so far is returned{where}.")
            if status != "interrupted":
                self._save(final=True, status=status)
        return self._outcome(status)

    def _steps(self, bar: Any, board: Any) -> str:
        engine, svi = self.engine, self.svi
        begin = time.perf_counter() - self.seconds
        mark = time.perf_counter()
        while self.step < svi.steps:
            if self.step == 0:
                self.recorder.add(0, engine.eager_step(0, check=True).unsqueeze(0))
                count = 1
                engine.prepare(1)
                mark = time.perf_counter()
            else:
                if not engine._prepared:
                    engine.prepare(self.step)
                    mark = time.perf_counter()
                count = engine.block_length(self.step, svi.steps - self.step)
                self.recorder.add(self.step, engine.run(self.step, count))
            before, self.step = self.step, self.step + count
            last = self.step >= svi.steps
            if not (last or _crossed(before, self.step, svi.log_every)):
                continue
            columns = self._columns()
            self._flush_check(columns)
            row = self.recorder.rows[-1]
            self.step_seconds += time.perf_counter() - mark
            if self.validation is not None and (last or _crossed(before, self.step, self.validate_every)):
                self._validate(row)
            row["seconds"] = self.seconds = time.perf_counter() - begin
            bar(self.step, f"bound {row['bound_per_datum']:.4g} nats per datum")
            board(row)
            self.good = (self.step, engine.state.clone())
            if not last and _crossed(before, self.step, self.checkpoint_every):
                self._save(final=False)
            stop = self._call_back(row)
            mark = time.perf_counter()
            if (stop or self.stopping.should_stop) and not last:
                return "stopped early"
        return "finished"

    def _columns(self) -> dict[str, Any]:
        last = max(self.svi.steps - 1, 1)
        columns: dict[str, Any] = {"seconds": 0.0, "lr": self.rates(self.step - 1)}
        if self.objective.is_scheduled:
            columns["weight"] = self.objective.schedule(min((self.step - 1) / last, 1.0))
        return columns

    def _flush_check(self, columns: dict[str, Any]) -> None:
        """Close the interval; if a bound or a parameter is not finite, say where it began, and keep the good state."""
        _, bad = self.recorder.flush(self.step, **columns)
        if bad is None:
            finite = torch.stack([torch.isfinite(p).all() for p in self.engine.state.parameters]).all()
            if bool(finite):
                return
            bad = self.step
        good_step, good = self.good
        self.engine.load(good, self.engine.optimizer_keys)
        where = ""
        for step in range(good_step, min(bad + 1, self.svi.steps)):
            bounds = self.engine.eager_step(step)
            parameters = torch.stack([torch.isfinite(p).all() for p in self.engine.state.parameters]).all()
            if not bool(torch.isfinite(bounds).all()) or not bool(parameters):
                bad = step
                where = first_bad_site(self.engine, step)
                break
        self.engine.load(good, self.engine.optimizer_keys)
        self.step = good_step
        self._save(final=False)
        kept = f" The state of step {good_step} is kept in {self.store.folder}." if self.store is not None else ""
        raise NonFiniteError(f"The fit stopped being finite at step {bad}: {where}{kept}")

    def _validate(self, row: dict[str, Any]) -> None:
        assert self.validation is not None
        state = self.engine.state
        self._write_back()
        value, stderr = bound_on(
            self.program, self.objective, self.validation, seed=self.seed, repeats=self.svi.validation_draws
        )
        row["validation_bound"], row["validation_stderr"] = value, stderr
        if self.stopping.update(self.step, value) and self.svi.patience is not None:
            self.best = state.clone()

    def _write_back(self) -> None:
        """Put the present (averaged) parameters into the modules."""
        state = self.engine.state
        shown = state.average if self.svi.average is not None else state.parameters
        self.engine.function.materialise(shown, state.buffers)

    def _call_back(self, row: dict[str, Any]) -> bool:
        if not self.callbacks:
            return False
        self._write_back()
        progress = Progress(self.step, self.svi.steps, dict(row), self.program)
        answers = [callback(progress) for callback in self.callbacks]  # every one is called
        return any(answer is True for answer in answers)

    def _save(self, *, final: bool, status: str = "running") -> None:
        if self.store is None:
            return
        state = self.engine.state
        tensors = {f"state/{i:05d}": t.detach().cpu().contiguous() for i, t in enumerate(state.tensors)}
        if self.best is not None:
            tensors |= {f"best/{i:05d}": t.detach().cpu().contiguous() for i, t in enumerate(self.best.tensors)}
        stopping: dict[str, Any] = {
            "best": self.stopping.best,
            "best_step": self.stopping.best_step,
            "bad": self.stopping.bad,
        }
        if self.stopping.best_step < 0:
            stopping["best"] = None
        body = {
            "optimizer_keys": [list(key) for key in self.engine.optimizer_keys],
            "stopping": stopping,
            "seconds": self.seconds,
            "step_seconds": self.step_seconds,
            "status": status,
        }
        self.store.save(self.step, tensors, body, self.recorder.rows, finished=final)

    def _resume(self) -> str | None:
        """Load the newest state; the status of a run that had already ended."""
        found = self.store.latest() if self.store is not None else None
        if found is None:
            return None
        keys = tuple((int(index), str(name)) for index, name in found.state["optimizer_keys"])
        self.engine.load(self._stored(found.tensors, "state/", len(keys)), keys)
        if any(name.startswith("best/") for name in found.tensors):
            self.best = self._stored(found.tensors, "best/", len(keys))
        stopping = found.state["stopping"]
        if stopping["best"] is not None:
            self.stopping.best, self.stopping.best_step = stopping["best"], stopping["best_step"]
        self.stopping.bad = stopping["bad"]
        self.recorder.rows = list(found.history)
        self.seconds, self.step_seconds = found.state["seconds"], found.state["step_seconds"]
        self.step = found.step
        self.good = (self.step, self.engine.state.clone())
        return str(found.state["status"]) if found.finished else None

    def _stored(self, tensors: dict[str, torch.Tensor], prefix: str, keys: int) -> StepState:
        empty = self.engine.state
        ordered = [tensors[name].to(self.device) for name in sorted(tensors) if name.startswith(prefix)]
        layout = StepState(empty.parameters, [torch.empty(0)] * keys, empty.average, empty.buffers)
        return layout.with_tensors(ordered)

    def _outcome(self, status: str) -> _Outcome:
        if self.best is not None and status != "interrupted":
            self.engine.load(self.best, self.engine.optimizer_keys)
        self._write_back()
        rows = self.recorder.rows
        bound = float("-inf")
        if self.svi.restarts > 1:
            data = self.validation or (self.data.batch() if isinstance(self.data, MemoryData) else self.data.head(4096))
            data = presented(self.svi, self.program.model_owner, data, self.seed)
            bound, _ = bound_on(self.program, self.objective, data, seed=self.seed, repeats=self.svi.validation_draws)
        steps = max(self.step - 1, 1)
        info = {
            "steps": self.step,
            "seconds": self.seconds,
            "seconds_compile": self.engine.compile_seconds,
            "seconds_steps": self.step_seconds,
            "steps_per_second": steps / self.step_seconds if self.step_seconds else None,
            "compile": self.engine.backend,
            "unroll": self.engine.unroll,
            "device": str(self.device),
            "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "versions": _versions(),
        }
        return _Outcome(self.program, self.guide, rows, status, info, bound)


def presented(svi: SVI, model: Any, batch: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The batch as the program sees it: one draw of the transform, by the fit's seed, checked by the model."""
    if svi.transform is None:
        return batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "presentation"))
        shown: dict[str, torch.Tensor] = svi.transform(batch, None)
    if hasattr(model, "check_data"):
        try:
            model.check_data(**shown)
        except ValueError as error:
            raise DataError(f"`{type(model).__name__}` cannot use the transformed data: {error}") from error
    return shown


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every


def _build_pair(
    svi: SVI,
    model: Any,
    data: Data,
    first: dict[str, torch.Tensor],
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Program, Any]:
    """A copy of the model, initialised from the data, bound to its guide."""
    torch.manual_seed(derive_seed(seed, "start"))
    own = copy.deepcopy(model)
    if isinstance(own, torch.nn.Module):
        own.to(device=device, dtype=dtype)
        own.train()
        if callable(initialize := getattr(own, "initialize", None)):
            whole = data.batch() if isinstance(data, MemoryData) else data.head(4096)
            initialize(presented(svi, model, whole, seed), derive_seed(seed, "initialize"))
    guide = build_guide(svi.guide, own, first)
    if isinstance(guide, torch.nn.Module):
        guide.to(device=device, dtype=dtype)
        guide.train()
    program = Program(own, guide)
    program.structure(first)  # creates the parameters of `pyro.param` statements
    return program, guide


def _board(folder: Any) -> Any:
    from .tensorboard import tensorboard_writer

    return tensorboard_writer(folder)


def _versions() -> dict[str, str]:
    import pyro

    return {"torch": torch.__version__, "pyro": pyro.__version__}
