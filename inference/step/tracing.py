"""The trace of one step of a fit, checked against the program itself; None where a program cannot be traced."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from pyro.poutine.messenger import Messenger

from .block import StepGraph
from .update import OptimizerState

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["trace_step", "warn_uncompiled"]


class _LastSite(Messenger):
    """Remember the last sample site that was reached, to say where a program could not be traced."""

    name: str | None = None

    def _pyro_sample(self, msg: Any) -> None:
        self.name = msg["name"]


def trace_step(engine: Engine, step: int) -> StepGraph | None:
    """Trace the step for the batch size of `step`; with a warning and None if the program cannot be traced.

    A program that branches on a tensor's value raises under tracing. One that does something a trace cannot see gives
    another bound than its trace, from the same state, batch and noise. Both then run eagerly.
    """
    site = _LastSite()
    try:
        with site, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = _trace(engine, step)
    except Exception as error:  # whatever a user's program raises
        where = f"after reaching the site `{site.name}`" if site.name else "in the optimiser's update"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        warnings.warn(
            f"The step cannot be traced {where}, so it runs eagerly, which is slower but gives the same "
            f"numbers. Usually a branch or `.item()` on a tensor's value is the cause. Reason: {reason}",
            stacklevel=6,
        )
        return None
    if not _agrees(engine, graph, step):
        warnings.warn(
            "The traced step does not give the bound that the program gives, so the steps run eagerly. The program "
            "does something at each run that a trace cannot see, such as drawing with another library or counting.",
            stacklevel=6,
        )
        return None
    return graph


def warn_uncompiled(error: RuntimeError) -> None:
    """Say that the step is interpreted because `error` kept it from being compiled."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    warnings.warn(
        "The step could not be compiled, so its trace is interpreted, which is slower but gives the same numbers. "
        f'`compile="trace"` does so without this warning. Reason: {reason}',
        stacklevel=6,
    )


def _trace(engine: Engine, step: int) -> StepGraph:
    weights, rates = engine.schedule(step, 1)
    if engine.update_graph is None:
        engine.update_graph = engine.update.traced(
            engine.state.parameters,
            OptimizerState(engine.optimizer_keys, engine.state.optimizer),
            engine.state.average,
            engine.scheduled_lr,
            engine.device,
        )
    noise = engine.noise_of(step, engine.feed.size(step))
    engine.seed_opaque(step)
    return StepGraph(
        engine.function,
        engine.update_graph if engine.shard is None else None,
        engine.state.clone(),
        engine.feed.batch(step),
        engine.feed.shared is not None,
        noise,
        weights[0],
        rates[0],
    )


def _agrees(engine: Engine, graph: StepGraph, step: int) -> bool:
    """Whether the graph gives the program's own bound."""
    batch = engine.feed.batch(step)
    weights, _ = engine.schedule(step, 1)
    noise = engine.noise_of(step, engine.feed.size(step))
    engine.seed_opaque(step)
    expected = engine.function(engine.state.parameters, engine.state.buffers, batch, noise, weights[0]).bounds
    engine.seed_opaque(step)
    with torch.no_grad():
        found = graph.module(*graph.example)[-1]
    tolerance = 1e-3 if engine.function.precision or engine.dtype != torch.float64 else 1e-8
    return bool(torch.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True))
