"""The state of a run at one instant: kept in memory to go back to, and on disk to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ...data.data import Data, MemoryData
from ...run.early_stopping import EarlyStopping
from ...run.history import Recorder, write_history
from ...step.engine import Engine
from ...step.state import StepState
from ...storage.atomic import fingerprint
from ...storage.checkpoint import Checkpoint, CheckpointStore
from .snapshot_check import check_progress, check_step_state

__all__ = ["RunFiles", "RunState", "load_state", "run_identity", "take_state"]

Keys = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class RunState:
    """Everything that the steps so far have made.

    Attributes:
        step: steps done.
        state: parameters, optimiser state, averages and buffers.
        keys: what each tensor of ``state.optimizer`` is.
        stopping: the early-stopping counters; `best`: the state it would return.
        rows: rows of the history so far.
        pending: bounds ``(count, 2)`` of steps that no row covers yet; the first of them is step `since`.
        seconds, step_seconds: time so far, in all and in the steps alone.
        values: Python values that runs of the program or callbacks have changed, by path.
    """

    step: int
    state: StepState
    keys: Keys
    stopping: EarlyStopping
    best: StepState | None
    rows: list[dict[str, Any]]
    pending: torch.Tensor
    since: int
    seconds: float
    step_seconds: float
    values: dict[str, Any]


def take_state(
    step: int,
    engine: Engine,
    stopping: EarlyStopping,
    best: StepState | None,
    recorder: Recorder,
    seconds: float,
    step_seconds: float,
    values: dict[str, Any],
) -> RunState:
    """A copy of the present state, that later steps do not touch."""
    pending, since = recorder.pending()
    return RunState(
        step=step,
        state=engine.state.clone(),
        keys=engine.optimizer_keys,
        stopping=replace(stopping),
        best=best,
        rows=list(recorder.rows),
        pending=pending,
        since=since,
        seconds=seconds,
        step_seconds=step_seconds,
        values=values,
    )


class RunFiles:
    """Where a run keeps its states and its history: a folder, or nowhere (then nothing is written or found)."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._store: CheckpointStore | None = None

    def open(self, identity: Mapping[str, Any]) -> None:
        """Make the folder ready for the run of this identity.

        Raises:
            CheckpointError: if the folder cannot be written.
        """
        assert self.folder is not None
        self._store = CheckpointStore(self.folder, identity)

    def latest(self, steps: int, engine: Engine, stopping: EarlyStopping) -> Checkpoint | None:
        """The newest whole state that can be one of this run, of `steps` steps on `engine`.

        Raises:
            CheckpointError: if the folder holds another run, or no readable state of this one.
        """

        def check(found: Checkpoint) -> None:
            check_progress(found, steps, "seconds", "step_seconds")
            dict(found.state["notes"])
            like = engine.state
            device = like.tensors[0].device if like.tensors else torch.device("cpu")
            run = load_state(found, like, stopping, device)
            check_step_state(run, like, engine.update.layout(like.parameters))

        return None if self._store is None else self._store.latest(check)

    def save(self, run: RunState, status: str, notes: Mapping[str, Any]) -> None:
        """Write `run` as the newest checkpoint, and its rows as ``history.csv``.

        Args:
            run: the state.
            status: ``"running"`` until the run has ended.
            notes: what `Fit.info` should still know when the run is read again.
        """
        if self._store is None:
            return
        tensors = {f"state/{i:05d}": tensor for i, tensor in enumerate(run.state.tensors)}
        if run.best is not None:
            tensors |= {f"best/{i:05d}": tensor for i, tensor in enumerate(run.best.tensors)}
        if len(run.pending):
            tensors["pending"] = run.pending
        body = {
            "optimizer_keys": [list(key) for key in run.keys],
            "stopping": {"best": run.stopping.best, "best_step": run.stopping.best_step, "bad": run.stopping.bad},
            "since": run.since,
            "seconds": run.seconds,
            "step_seconds": run.step_seconds,
            "status": status,
            "values": run.values,
            "notes": dict(notes),
        }
        self._store.save(run.step, tensors, body, run.rows, finished=status != "running")
        write_history(self._store.folder / "history.csv", run.rows)


def load_state(found: Checkpoint, like: StepState, stopping: EarlyStopping, device: torch.device) -> RunState:
    """The run that a checkpoint holds, laid out as the present one."""
    keys = tuple((int(index), str(name)) for index, name in found.state["optimizer_keys"])
    layout = StepState(like.parameters, [torch.empty(0)] * len(keys), like.average, like.buffers)

    def stored(prefix: str) -> StepState | None:
        names = sorted(name for name in found.tensors if name.startswith(prefix))
        return layout.with_tensors([found.tensors[name].to(device) for name in names]) if names else None

    state = stored("state/") or layout.with_tensors([])
    return RunState(
        step=found.step,
        state=state,
        keys=keys,
        stopping=replace(stopping, **found.state["stopping"]),
        best=stored("best/"),
        rows=list(found.history),
        pending=found.tensors.get("pending", torch.empty(0, 2, device="cpu")).to(device),
        since=found.state["since"],
        seconds=found.state["seconds"],
        step_seconds=found.state["step_seconds"],
        values=dict(found.state.get("values", {})),
    )


def run_identity(
    configuration: Mapping[str, Any],
    model: Any,
    data: Data,
    validation: Mapping[str, torch.Tensor] | None,
    seed: int,
    shapes: Mapping[str, torch.Tensor],
) -> dict[str, Any]:
    """What makes a run this one: a folder that holds any other is refused.

    Data in memory count with every value, streamed ones with their number alone.
    """
    arguments = getattr(model, "init_arguments", {})
    return {
        **configuration,
        "seed": seed,
        **({} if configuration.get("average") is None else {"average_starts_at": 0.0}),
        "model": getattr(model, "__qualname__", type(model).__qualname__),
        "model_arguments": {name: _plain(value) for name, value in arguments.items()},
        "parameters": {name: list(value.shape) for name, value in shapes.items()},
        "data_size": data.size,
        "data": fingerprint(data.tensors) if isinstance(data, MemoryData) else None,
        "validation": None if validation is None else fingerprint(validation),
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return fingerprint({"": value})
    return getattr(value, "__qualname__", type(value).__qualname__)
