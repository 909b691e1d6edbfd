"""Whether what a checkpoint holds can be the state of this run: types, names and shapes, before any of it is used."""

from __future__ import annotations

__all__ = ["check_progress", "check_step_state", "check_tensors"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from ...errors import CheckpointError
from ...storage.checkpoint import Checkpoint

if TYPE_CHECKING:
    from ...step.state import StepState
    from ...step.update import OptimizerState
    from .snapshot import RunState

_STATUS = ("running", "finished", "stopped early", "interrupted")


def check_progress(found: Checkpoint, steps: int, *numbers: str) -> None:
    """Raise a `CheckpointError` unless the step, the status, the rows and these numbers of the state can be a run's."""
    if found.step > steps:
        raise CheckpointError(f"it is of step {found.step}, and the run has {steps}")
    if found.state.get("status") not in _STATUS:
        raise CheckpointError(f"its `status` is {found.state.get('status')!r:.60}")
    for name in numbers:
        value = found.state.get(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise CheckpointError(f"its `{name}` is {value!r:.60}, and no finite number")
    if [row for row in found.history if not isinstance(row.get("step"), int)]:
        raise CheckpointError("a row of its history has no `step`")


def check_tensors(found: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> None:
    """Raise a `CheckpointError` unless the tensors have the names, shapes and number types of the run's own.

    One without rows at the start may have any number of them later.
    """
    if names := sorted(found.keys() ^ own.keys()):
        raise CheckpointError(f"`{names[0]}` is {'not in it' if names[0] in own else 'not in this run'}")
    for name, value in own.items():
        grows = value.dim() > 0 and len(value) == 0  # a row a datum, as of the documents that a run has found so far
        shapes = (found[name].shape[1:], value.shape[1:]) if grows else (found[name].shape, value.shape)
        if shapes[0] != shapes[1] or found[name].dtype != value.dtype:
            there, here = ((tuple(tensor.shape), str(tensor.dtype)) for tensor in (found[name], value))
            raise CheckpointError(f"`{name}` is {there} there, {here} here")


def check_step_state(run: RunState, like: StepState, optimizer: OptimizerState | None) -> None:
    """Raise a `CheckpointError` unless the tensors of a step's state are laid out as `like` and the optimiser's own.

    Args:
        run: the state that was stored.
        like: the run's present state.
        optimizer: what its optimiser keeps after a step, of which a state after the start must have all.
    """
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
        own = {f"{index}.{name}": value for (index, name), value in zip(optimizer.keys, optimizer.tensors, strict=True)}
        named = zip(run.keys, run.state.optimizer, strict=True)
        found = {f"{index}.{name}": value for (index, name), value in named}
        check_tensors({name: value for name, value in found.items() if name in own}, own)
    if run.pending.shape[1:] != (2,) or not run.pending.is_floating_point():
        raise CheckpointError(f"its pending bounds are {tuple(run.pending.shape)}")
    if not isinstance(run.since, int) or not isinstance(run.stopping.best_step, int):
        raise CheckpointError("its counters are no numbers")
