"""Check that global latents have the same shape for every mini-batch."""

from __future__ import annotations

__all__ = ["check_batch_shapes"]

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine

from ..errors import ModelError
from ..pair.eval_mode import evaluation_mode
from ..pair.findings.pair_sites import is_ignored
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.program import Program
from ..tensors import Batch, Tensors, num_rows
from .base import Data, MemoryData


def check_batch_shapes(program: Program, data: Data, first: Batch, seen: Batch, present: Callable[..., Any]) -> None:
    """Raise a `ModelError` if a latent outside the data plate has another shape on another batch of as many rows.

    Args:
        program: the pair, whose model is run twice.
        data: all the data; of those in memory a batch is made that holds the largest number of each vector, as the last
            group's.
        first: the batch that the guide was built on.
        seen: another one, for data that are streamed.
        present: makes of a batch what the steps see of it.
    """
    other = _with_extremes(data, num_rows(first))
    shapes, others = _global_shapes(program, first), _global_shapes(program, seen if other is None else present(other))
    for name, shape in shapes.items():
        if name in others and others[name] != shape:
            raise ModelError(
                f"The latent `{name}` has shape {shape} on one mini-batch and {others[name]} on another: its size is "
                f"taken from the rows that a batch happens to hold, as `int(group.max()) + 1` is. Count the groups in "
                f"all the data, and build the model with their number: `__init__(self, num_groups)`."
            )


def _with_extremes(data: Data, batch_size: int) -> Tensors | None:
    if not isinstance(data, MemoryData):
        return None
    vectors = [x for x in data.tensors.values() if x.ndim == 1 and torch.equal(x, x.round())]
    if not vectors:
        return None
    rows = torch.stack([vector.argmax() for vector in vectors]).unique()
    others = torch.arange(data.size, device=rows.device)
    return data.batch(torch.cat([rows, others[~torch.isin(others, rows)]])[:batch_size])


def _global_shapes(program: Program, batch: Batch) -> dict[str, tuple[int, ...]]:
    with poutine.block(), evaluation_mode(program, seed=0), program.environment():
        trace = poutine.trace(program.model).get_trace(**batch)
    nodes: dict[str, Any] = {name: node for name, node in trace.nodes.items() if not is_ignored(node)}
    return {
        name: tuple(node["value"].shape)
        for name, node in nodes.items()
        if not node["is_observed"] and all(frame.name != DATA_PLATE for frame in node["cond_indep_stack"])
    }
