"""Checks of a checkpoint's content: types, names and shapes, before any of it is used."""

from __future__ import annotations

__all__ = ["check_numbers", "check_progress", "check_tensors"]

import math
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import CheckpointError
from ..storage.checkpoint import Checkpoint

_STATUS = ("running", "finished", "stopped early", "interrupted")


def check_progress(found: Checkpoint, steps: int, *numbers: str) -> None:
    """Raise a `CheckpointError` unless the step, the status, the rows and these numbers of the state can be a run's."""
    if found.step > steps:
        raise CheckpointError(f"it is of step {found.step}, and the run has {steps}")
    if found.state.get("status") not in _STATUS:
        raise CheckpointError(f"its `status` is {found.state.get('status')!r:.60}")
    check_numbers(found.state, *numbers)
    if [row for row in found.history if not isinstance(row.get("step"), int)]:
        raise CheckpointError("a row of its history has no `step`")


def check_numbers(values: Mapping[str, Any], *names: str) -> None:
    """Raise a `CheckpointError` unless each of these values is a finite number."""
    for name in names:
        value = values.get(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise CheckpointError(f"its `{name}` is {value!r:.60}, and no finite number")


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
