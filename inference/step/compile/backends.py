"""Ways to run a step graph: node by node, compiled by Inductor, or captured in a CUDA graph."""

from __future__ import annotations

__all__ = ["CapturedGraph", "choose_backend", "choose_unroll", "compile_with_inductor", "interpreted", "is_tiny"]

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import fx

from ...tensors import TensorList
from .buffer_hoisting import generated_modules, hoist_buffers
from .cost import Cost
from .fast_activations import shorten_elementary
from .graph import updating_inputs
from .scalar_hoisting import keep_scalars

Runner = Callable[..., Any]

_SECONDS_PER_NODE = 1.6e-6  # one ATen call from the interpreter, on a current core
_SECONDS_PER_FLOP = 2e-11
_SECONDS_PER_ELEMENT = 1e-10  # written by a fused kernel
_TINY_SECONDS = 1e-4
_COMPILE_SECONDS = 12.0  # importing Inductor and building its first kernels
_COMPILE_SECONDS_PER_NODE = 0.02


def choose_backend(cost: Cost, steps: int, device: torch.device) -> str:
    """Whether compiling pays within `steps`.

    The rule uses the graph and the number of steps only, never a clock, so that a resumed run chooses as the first did.
    Compiling saves nearly all of the interpreter's time per node, most of the traffic of elementwise kernels, and about
    a third of the time of the products (their epilogues, and the optimiser).
    """
    if device.type == "cuda":
        return "cudagraph"
    saved = cost.operations * _SECONDS_PER_NODE + 0.3 * cost.flops * _SECONDS_PER_FLOP
    saved += 4.0 * cost.elements * _SECONDS_PER_ELEMENT
    compiling = _COMPILE_SECONDS + _COMPILE_SECONDS_PER_NODE * cost.operations
    return "inductor" if steps * saved > 1.5 * compiling else "trace"


def is_tiny(cost: Cost) -> bool:
    """Whether a second thread would cost more than it gives."""
    return _work(cost) < _TINY_SECONDS


def _work(cost: Cost) -> float:
    """Seconds of arithmetic in one compiled step, roughly."""
    return cost.flops * _SECONDS_PER_FLOP + cost.elements * _SECONDS_PER_ELEMENT


def choose_unroll(cost: Cost, steps: int, run: int | None = None) -> int:
    """How many steps to fuse into one compiled graph: many for tiny steps, one where the arithmetic dominates.

    Args:
        cost: of one step.
        steps: the steps that are left.
        run: the most steps in a row with batches of one shape (a ragged batch ends a run), or None without limit. What
            does not fill a block runs step by step, so the length is chosen to leave little over.
    """
    seconds = _work(cost)
    if seconds > _TINY_SECONDS or cost.operations > 600:
        return 1
    limit = min(20 if seconds < 2e-5 else 10, steps if run is None else min(steps, run))
    if run is None or limit < 2:
        return max(1, limit)

    def time(length: int) -> float:  # of a run, in units of a fused step: calls cost about 3, single steps about 20
        blocks, rest = divmod(run, length)
        return blocks * (length + 3) + 20 * rest

    return min(range(1, limit + 1), key=time)


def interpreted(module: fx.GraphModule) -> Runner:
    """The graph's generated Python code, without autograd."""
    forward = module.forward

    def run(*inputs: torch.Tensor) -> Any:
        return forward(*inputs)

    return run


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
    constants = [*module.parameters(), *module.buffers()]
    with generated_modules() as modules, torch.no_grad():
        with tracing(TracingContext(mode)):
            examples: list[Any] = [mode.from_tensor(tensor.detach(), static_shapes=True) for tensor in inputs]
            compiled = compile_graph(module, examples, options=options)
        compiled(*[tensor.detach().clone() for tensor in inputs])
        return hoist_buffers(compiled, modules, constants, inputs)


def compile_with_inductor(module: fx.GraphModule, inputs: TensorList, state: int) -> Runner:
    """Compile the graph so that it updates its first `state` inputs in place; called, it returns them and the rest.

    Random operations left inside keep eager's generator. What the cache cannot give is compiled without it.

    Raises:
        RuntimeError: if there is no compiler, or it fails.
    """
    from torch._inductor.exc import InductorError
    from torch._inductor.utils import fresh_cache

    module = updating_inputs(module, state)
    with _quiet():
        keep_scalars(module)
        shorten_elementary(module)

        options = {
            "fallback_random": True,
            "triton.cudagraphs": False,
            "size_asserts": False,
            "alignment_asserts": False,
            "scalar_asserts": False,
        }
        try:
            compiled = _compile(module, inputs, options)
        except InductorError:  # such as a half-written file that a killed process left in the cache
            with fresh_cache():
                compiled = _compile(module, inputs, options)

    def run(*inputs: torch.Tensor) -> Any:
        return (*inputs[:state], *compiled(*inputs))

    return run


class CapturedGraph:
    """A block of steps captured once in a CUDA graph and replayed: no launch gaps and no Python per kernel.

    State lives in static tensors and is updated in place by the replay; rows are copied in, bounds copied out.
    """

    def __init__(self, runner: Runner, state: TensorList, data: TensorList, rows: TensorList) -> None:
        self.state = [tensor.detach().clone() for tensor in state]
        self.rows = [row.detach().clone() for row in rows]
        self.data = data
        start = [tensor.clone() for tensor in self.state]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.no_grad():
            for _ in range(2):
                runner(*self.state, *self.data, *self.rows)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph), torch.no_grad():
            *new, self.bounds = runner(*self.state, *self.data, *self.rows)
            _copy(self.state, new)
        _copy(self.state, start)

    def __call__(self, state: TensorList, rows: TensorList) -> tuple[TensorList, torch.Tensor]:
        """Advance from `state` by the block's steps. The returned state is overwritten by the next call."""
        if state[0] is not self.state[0]:
            _copy(self.state, state)
        _copy(self.rows, rows)
        self.graph.replay()
        return self.state, self.bounds.clone()


def _copy(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        if target.numel() and target is not source:
            target.copy_(source, non_blocking=True)
