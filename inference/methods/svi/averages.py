"""Moving averages of the parameters, as a run shows and returns them."""

from __future__ import annotations

__all__ = ["shown_parameters", "show_average"]

from typing import Any

import torch

from ...data.feed import Stream
from ...step.engine import Engine
from ...step.function import Gradients
from ...step.update import debiased

_BATCHES = 8  # of an interval, on which the averaged parameters' bound is shown


def shown_parameters(engine: Engine, steps: int) -> list[torch.Tensor]:
    """The parameters that the fit returns after `steps` steps: the state's own, or their moving average."""
    state, decay = engine.state, engine.update.average
    return state.parameters if decay is None or steps == 0 else debiased(state.average, decay, steps)


def show_average(row: dict[str, Any], engine: Engine, since: int, steps: int, data_size: float) -> None:
    """Put the bound of the averaged parameters into the interval's row; leave it as it is where nothing is averaged.

    Args:
        row: of the history, after `steps` steps; the row before is of step `since`.
        engine: the engine; the bound is a mean over the batches and draws of its last steps, at most eight.
        data_size: what the per-datum column divides by.
    """
    if engine.update.average is None or steps == since:
        return
    count = 1 if isinstance(engine.feed, Stream) else min(steps - since, _BATCHES)
    parameters, buffers = shown_parameters(engine, steps), engine.state.buffers
    with engine.function.program.at_rest():
        found = [
            engine.function.bounds(parameters, buffers, engine.inputs(step)) for step in range(steps - count, steps)
        ]
    mean = torch.stack(found).mean(0)
    if engine.shard is not None:
        mean = engine.shard.reduce(Gradients([mean.new_zeros(1)], mean, [])).bounds
    row["bound"] = float(mean[1])
    row["bound_per_datum"] = row["bound"] / data_size
