"""A function of tensors that is called again and again: recorded, tried against itself, compiled where that pays."""

from __future__ import annotations

__all__ = ["compile_graph", "record_function"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from ..tensors import TensorList
from .compile.c.library import CSteps, compile_with_c
from .compile.choice import choose_backend, choose_c
from .compile.cost import Cost
from .compile.graph import trace
from .compile.inductor import compile_with_inductor


def record_function(function: Callable[..., tuple[Tensor, ...]], inputs: TensorList) -> fx.GraphModule | None:
    """The graph of a function; None where it cannot be traced, or its trace gives something else than it gave.

    Args:
        function: runs once by itself: what a program makes in its first run is no part of a trace.
        inputs: examples.
    """
    try:
        expected = function(*inputs)
        module = trace(lambda *given: function(*given), inputs)
        with torch.no_grad():
            found = module(*inputs)
    except Exception:  # whatever a user's program raises, under tracing or where it has no value
        return None
    tolerance = 1e-8 if inputs[0].dtype == torch.float64 else 1e-3
    pairs = zip(found, expected, strict=True)
    same = all(torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True) for a, b in pairs)
    return module if same else None


def compile_graph(
    module: fx.GraphModule, inputs: TensorList, state: int, rows: int, *, cost: Cost, calls: int, wanted: bool
) -> CSteps | Callable[..., Any] | None:
    """A graph in C, or where there is no C code for it by Inductor; None where its calls do not repay that.

    The rule is of the graph and of `calls` only, so that a run that goes on chooses as it did before.

    Args:
        state: how many inputs, the first ones, are updated in place.
        rows: how many inputs, the last ones, are each call's own.
        cost: of the graph.
        calls: how many there will be.
        wanted: whether to compile in any case.
    """
    device = inputs[0].device
    if wanted or choose_c(cost, calls, device):
        in_c = compile_with_c(module, inputs, state, rows)
        if in_c is not None:
            return in_c
    if wanted or choose_backend(cost, calls, device) == "inductor":
        try:
            return compile_with_inductor(module, inputs, state)
        except Exception:  # no compiler, or one that fails
            return None
    return None
