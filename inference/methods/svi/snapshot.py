"""The state of stochastic ascent at one instant: kept in memory to go back to, and written to go on from."""

from __future__ import annotations

__all__ = ["StepSnapshot", "check_snapshot", "read_snapshot", "write_snapshot"]

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...errors import CheckpointError
from ...run.algorithm import Snapshot
from ...run.checkpoint_check import check_numbers, check_tensors
from ...run.early_stopping import EarlyStopping
from ...step.engine import Engine
from ...step.state import StepState
from ...step.update import OptimizerState

Keys = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class StepSnapshot:
    """Everything that the steps so far have made.

    Attributes:
        step: steps done.
        state: parameters, optimiser state, averages and buffers.
        keys: what each tensor of ``state.optimizer`` is.
        stopping: the early-stopping counters; `best`: the state it would return.
        pending: bounds ``(count, 2)`` of steps that no row covers yet; the first of them is step `since`.
        step_seconds: time in the steps alone.
        values: Python values that runs of the program or callbacks have changed, by path.
        notes: what `Fit.info` should still know when the run is read again.
        rows: the guide's parameters at each row, of a fit that watches them; else empty.
        auto: what the watch over a fit that ends by itself holds beside them, as plain values.
    """

    step: int
    state: StepState
    keys: Keys
    stopping: EarlyStopping
    best: StepState | None
    pending: torch.Tensor
    since: int
    step_seconds: float
    values: dict[str, Any]
    notes: Mapping[str, Any]
    rows: torch.Tensor
    auto: Mapping[str, Any]


def write_snapshot(found: StepSnapshot) -> Snapshot:
    """The snapshot as tensors by name and plain values."""
    tensors = {f"state/{i:05d}": tensor for i, tensor in enumerate(found.state.tensors)}
    if found.best is not None:
        tensors |= {f"best/{i:05d}": tensor for i, tensor in enumerate(found.best.tensors)}
    if len(found.pending):
        tensors["pending"] = found.pending
    if len(found.rows):
        tensors["rows"] = found.rows
    values = {
        "step": found.step,
        "optimizer_keys": [list(key) for key in found.keys],
        "stopping": {"best": found.stopping.best, "best_step": found.stopping.best_step, "bad": found.stopping.bad},
        "since": found.since,
        "step_seconds": found.step_seconds,
        "values": found.values,
        "notes": dict(found.notes),
        "auto": dict(found.auto),
    }
    return Snapshot(tensors, values)


def read_snapshot(snapshot: Snapshot, like: StepState, stopping: EarlyStopping, device: torch.device) -> StepSnapshot:
    """What :func:`write_snapshot` wrote, laid out as the present state."""
    values = snapshot.values
    keys = tuple((int(index), str(name)) for index, name in values["optimizer_keys"])
    layout = StepState(like.parameters, [torch.empty(0)] * len(keys), like.average, like.buffers)

    def stored(prefix: str) -> StepState | None:
        names = sorted(name for name in snapshot.tensors if name.startswith(prefix))
        return layout.with_tensors([snapshot.tensors[name].to(device) for name in names]) if names else None

    return StepSnapshot(
        step=values["step"],
        state=stored("state/") or layout.with_tensors([]),
        keys=keys,
        stopping=replace(stopping, **values["stopping"]),
        best=stored("best/"),
        pending=snapshot.tensors.get("pending", torch.empty(0, 2, device="cpu")).to(device),
        since=values["since"],
        step_seconds=values["step_seconds"],
        values=dict(values.get("values", {})),
        notes=dict(values["notes"]),
        rows=snapshot.tensors.get("rows", torch.empty(0, device="cpu")).cpu(),
        auto=dict(values.get("auto", {})),
    )


def check_snapshot(snapshot: Snapshot, engine: Engine, stopping: EarlyStopping) -> None:
    """Raise a `CheckpointError`, or what else reading it leads to, unless the snapshot is laid out as the engine's own
    state and its optimiser's."""
    check_numbers(snapshot.values, "step_seconds")
    like = engine.state
    device = like.tensors[0].device if like.tensors else torch.device("cpu")
    run, optimizer = read_snapshot(snapshot, like, stopping, device), engine.update.layout(like.parameters)
    for state in (run.state, run.best):
        if state is None:
            continue
        for part in ("parameters", "average", "buffers"):
            there, here = (dict(enumerate(getattr(which, part))) for which in (state, like))
            check_tensors({f"{part}/{i}": t for i, t in there.items()}, {f"{part}/{i}": t for i, t in here.items()})
        if len(state.optimizer) != len(run.keys):
            raise CheckpointError(f"it has {len(state.optimizer)} optimiser entries, named are {len(run.keys)}")
    if any(not 0 <= index < len(like.parameters) for index, _ in run.keys):
        raise CheckpointError("an optimiser entry belongs to no parameter")
    if optimizer is not None and (run.step or run.keys):
        _check_optimizer(run, optimizer)
    if run.pending.shape[1:] != (2,) or not run.pending.is_floating_point():
        raise CheckpointError(f"its pending bounds are {tuple(run.pending.shape)}")
    if len(run.rows) and run.rows.dim() != 2:
        raise CheckpointError(f"its rows of parameters are {tuple(run.rows.shape)}")
    if not isinstance(run.since, int) or not isinstance(run.stopping.best_step, int):
        raise CheckpointError("its counters are no numbers")


def _check_optimizer(run: StepSnapshot, optimizer: OptimizerState) -> None:
    """A state after the start must have all that the optimiser keeps after a step."""
    own = {f"{index}.{name}": value for (index, name), value in zip(optimizer.keys, optimizer.tensors, strict=True)}
    named = zip(run.keys, run.state.optimizer, strict=True)
    found = {f"{index}.{name}": value for (index, name), value in named}
    check_tensors({name: value for name, value in found.items() if name in own}, own)
