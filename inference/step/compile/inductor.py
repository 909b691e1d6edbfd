"""A step's graph compiled by Inductor."""

from __future__ import annotations

__all__ = ["compile_with_inductor"]

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx

from ...tensors import TensorList
from .fast_activations import shorten_elementary
from .graph import updating_inputs

Runner = Callable[..., Any]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("torch._inductor", "torch.utils.cpp_extension", "torch._dynamo")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _compile(module: fx.GraphModule, inputs: TensorList, options: dict[str, Any]) -> Runner:
    """Compile for the inputs' shapes; what an earlier fit, of any process, has compiled comes from Inductor's cache.

    Only inputs that belong to a fake mode with a shape environment can be looked up there.
    """
    from torch._guards import TracingContext, tracing
    from torch._inductor import compile as compile_graph
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    mode = FakeTensorMode(shape_env=ShapeEnv())
    with torch.no_grad():
        with tracing(TracingContext(mode)):
            examples: list[Any] = [mode.from_tensor(tensor.detach(), static_shapes=True) for tensor in inputs]
            compiled: Runner = compile_graph(module, examples, options=options)
        compiled(*[tensor.detach().clone() for tensor in inputs])
    return compiled


def compile_with_inductor(module: fx.GraphModule, inputs: TensorList, state: int) -> Runner:
    """Compile the graph of a step: called, it updates the first `state` inputs in place, and returns them and the rest.

    Random operations left inside keep eager's generator. What the cache cannot give is compiled without it.

    Args:
        module: the graph, whose first `state` results are the new values of its first inputs.
        inputs: example inputs.
        state: how many inputs are updated in place.

    Raises:
        RuntimeError: if there is no compiler, or it fails.
    """
    from torch._inductor.exc import InductorError
    from torch._inductor.utils import fresh_cache

    module = updating_inputs(module, state)
    with _quiet():
        shorten_elementary(module)

        options = {
            "fallback_random": True,
            "triton.cudagraphs": False,
            "size_asserts": False,
            "alignment_asserts": False,
            "scalar_asserts": False,
        }
        try:
            runner = _compile(module, inputs, options)
        except InductorError:  # such as a half-written file that a killed process left in the cache
            with fresh_cache():
                runner = _compile(module, inputs, options)
    return lambda *inputs: (*inputs[:state], *runner(*inputs))
