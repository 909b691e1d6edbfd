"""The trace of one step of a fit, checked against the program itself; None where a program cannot be traced."""

from __future__ import annotations

__all__ = [
    "departure",
    "find_restless",
    "python_state",
    "trace_step",
    "warn_eager",
    "warn_of_operations",
    "warn_set_by_hand",
    "warn_uncompiled",
]

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from pyro.poutine.messenger import Messenger

from ..pair.eager_run import kept_buffers
from ..pair.operations import LOOP_CURE, MANY, count_operations, said_of_operations
from ..pair.plain_state import GENERATORS, PlainState, restore
from ..warn import warn_user
from .eager import EagerSteps
from .step_graph import StepGraph
from .update import OptimizerState


class _LastSite(Messenger):
    """Remember the last sample site that was reached, to say where a program could not be traced."""

    name: str | None = None

    def _pyro_sample(self, msg: Any) -> None:
        self.name = msg["name"]


def trace_step(engine: EagerSteps, step: int) -> StepGraph | None:
    """Trace the step for the batch size of `step`; with a warning and None if the program cannot be traced.

    A program that branches on a tensor's value raises under tracing. One that changes what it reads in Python, draws
    with a generator of its own, or gives another bound than its trace from the same state, batch and noise, is not what
    its trace would repeat. All run eagerly.
    """
    if cause := _cannot_repeat(engine):
        warn_eager(cause)
        return None
    site, graph = _LastSite(), None
    try:
        with site, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = _trace(engine, step)
    except Exception as error:  # whatever a user's program raises
        where = f"after reaching the site `{site.name}`" if site.name else "in the optimiser's update"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        warn_user(
            f"The step cannot be traced {where}, so it runs eagerly, which is slower but gives the same "
            f"numbers. Usually a branch or `.item()` on a tensor's value is the cause. Reason: {reason}"
        )
        return None
    if graph is not None and (cause := _unfaithful(engine, graph, step)):
        warn_eager(cause)
        return None
    return graph


def warn_uncompiled(error: RuntimeError) -> None:
    """Say that the step is interpreted because `error` kept it from being compiled."""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    warn_user(
        "The step could not be compiled, so its trace is interpreted, which is slower but gives the same numbers. "
        f'`compile="trace"` does so without this warning. Reason: {reason}'
    )


def _trace(engine: EagerSteps, step: int) -> StepGraph:
    weights, rates = engine.schedule(step, 1)
    if engine.update_graph is None:
        engine.update_graph = engine.update.traced(
            engine.state.parameters,
            OptimizerState(engine.optimizer_keys, engine.state.optimizer),
            engine.state.average,
            engine.schedule.rates.changes,
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


def find_restless(engine: EagerSteps, step: int) -> list[str]:
    """Run the program once, and note in it which Python values that changes; they are put back. Returns their paths."""
    before = python_state(engine)
    engine.function(engine.state.parameters, engine.state.buffers, engine.inputs(step))
    after = python_state(engine)
    names = after.changed(before)
    places = {name: before.places[name] for name in names if name in before.places}
    restore([(place, before.values[name]) for name, place in places.items()])
    engine.function.program.restless = places
    engine.restless = names
    return names


def python_state(engine: EagerSteps) -> PlainState:
    """The Python values that the program, the objective and the transform reach."""
    function = engine.function
    return PlainState({**function.program.roots, "objective": function.objective, "transform": function.transform})


def _cannot_repeat(engine: EagerSteps) -> str:
    """Why no trace can stand for the program, or an empty string."""
    if engine.restless:
        name = engine.restless[0]
        if name in GENERATORS:
            return f"The program draws from `{name}`, which a trace does not see, and which no fit seeds or resumes"
        return (
            f"A run of the program changes `{name}`, which a trace holds as it was. A tensor in a buffer "
            f"(`register_buffer`) is followed, and so are the objectives' schedules"
        )
    if engine.private:
        return f"The program draws (`{engine.private[0]}`) with a generator of its own, which no fit seeds or resumes"
    return ""


def _unfaithful(engine: EagerSteps, graph: StepGraph, step: int) -> str:
    """Why the graph is not the program at `step`, or an empty string."""
    try:
        expected = _bounds(engine, step)
        again = engine.function.bounds(engine.state.parameters, engine.state.buffers, engine.inputs(step))
        found = _bounds(engine, step, graph, graph.example)
    except RuntimeError as error:  # operations that only run inside of a module (some of LSTMs)
        return f"The trace cannot be run ({str(error).strip().splitlines()[0]})"
    if not _close(engine, expected, again, exact=True):
        return (
            "The program gives another bound at each run on the same numbers, such as by drawing with another library "
            "or counting"
        )
    if not _close(engine, expected, found):
        return (
            "The traced step does not give the bound that the program gives. It does something at each run that a "
            "trace cannot see"
        )
    return ""


def departure(engine: EagerSteps, step: int, graph: StepGraph, inputs: Sequence[torch.Tensor]) -> str:
    """Why the program does not do at `step` what its trace does with these inputs, or an empty string."""
    if cause := _cannot_repeat(engine):
        return cause
    if _close(engine, _bounds(engine, step), _bounds(engine, step, graph, inputs)):
        return ""
    return f"From step {step} on, or a little earlier, the program gives another bound than its trace"


def _bounds(
    engine: EagerSteps, step: int, graph: StepGraph | None = None, inputs: Sequence[torch.Tensor] = ()
) -> torch.Tensor:
    """``(2,)``: the bounds of a step from the present state, by the program or by its trace."""
    given = engine.inputs(step)
    if graph is None:
        return engine.function(engine.state.parameters, engine.state.buffers, given).bounds
    with torch.no_grad():
        found: torch.Tensor = graph.module(*inputs)[-1]
    return found


def _close(engine: EagerSteps, one: torch.Tensor, other: torch.Tensor, exact: bool = False) -> bool:
    """Equal up to rounding: that of another order of operations, or (`exact`) of the same program run twice."""
    double = engine.dtype == torch.float64 and not engine.function.precision
    tolerance = (1e-8 if double else 1e-3) if not exact else (1e-11 if double else 1e-5)
    return bool(torch.allclose(one, other, rtol=tolerance, atol=tolerance, equal_nan=True))


def warn_eager(cause: str) -> None:
    """Say that the steps run eagerly, and why."""
    warn_user(f"{cause}, so the steps run eagerly, which is slower.")


def warn_of_operations(engine: EagerSteps, step: int, operations: int) -> None:
    """Say that the program takes thousands of operations, if its traced step has so many."""
    if operations < MANY:
        return
    program, batch = engine.function.program, engine.feed.batch(step)
    with program.at_rest(), kept_buffers(program):
        count = count_operations(program, batch)
        if count >= MANY:
            warn_user(f"{said_of_operations(count, program.structure(batch).sites)} {LOOP_CURE}")


def warn_set_by_hand(name: str) -> None:
    """Say that a callback changes the program's Python state too often to trace it anew each time."""
    warn_eager(f"Callbacks change `{name}` again and again, which a trace holds as it was")
