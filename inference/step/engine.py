"""The engine that advances a fit: the first step eagerly and checked, the others as fast as the program allows."""

from __future__ import annotations

__all__ = ["COMPILE_MODES", "Engine"]

import time
from collections.abc import Callable
from typing import Any

import torch

from ..data.feed import Feed, Stream
from ..errors import ConfigurationError
from ..tensors import TensorList
from .checks import check_first_step
from .compile.c.library import CSteps, compile_with_c
from .compile.choice import block_steps, choose_backend, choose_c, choose_capture, is_tiny
from .compile.cost import Cost, estimate_cost
from .compile.cuda_graph import CapturedGraph
from .compile.graph import interpreted
from .compile.inductor import compile_with_inductor
from .eager import EagerSteps
from .function import Gradients, StepFunction
from .state import StepState
from .step_graph import StepGraph
from .tracing import departure, find_restless, trace_step, warn_eager, warn_of_operations, warn_uncompiled
from .update import Update

_COMPILE_ON_CUDA = 5_000_000  # kernel launches that repay compiling before capturing
COMPILE_MODES = ("auto", "trace", "c", "inductor", "cudagraph", False)


class Engine(EagerSteps):
    """Run steps of one fit.

    Args:
        function: the step's gradient.
        update: the optimiser's update.
        feed: the data.
        compile: one of `COMPILE_MODES`.
        choose_threads: whether tiny steps may set torch to one thread (the caller restores the number).
        expected_steps: what the run will take of its steps, as far as can be told: what is worth compiling goes by it.
        options: of :class:`EagerSteps`.
    """

    def __init__(
        self,
        function: StepFunction,
        update: Update,
        feed: Feed,
        *,
        compile: str | bool,
        choose_threads: bool = False,
        expected_steps: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(function, update, feed, **options)
        self.compile, self._choose_threads = compile, choose_threads
        self.expected_steps = expected_steps or self.steps
        self.backend = "eager"
        self.block = 1  # the most steps of one call; with a captured graph exactly so many
        self.compile_seconds = 0.0
        self.prepared = False
        self._graphs: dict[Any, tuple[StepGraph, Callable[..., Any]] | None] = {}
        self._captured: CapturedGraph | None = None

    def load(self, state: StepState, keys: tuple[tuple[int, str], ...]) -> None:
        super().load(state, keys)
        self._captured = None

    def first_step(self) -> torch.Tensor:
        """Step 0, eagerly, if its gradients can be the start of a fit; returns the bounds ``(2,)``.

        Raises:
            NonFiniteError, ModelError: as :func:`~jensen.inference.step.checks.check_first_step`.
        """
        out = self.gradients(0)
        with self.function.program.at_rest():
            check_first_step(self, out)
        return self.apply(0, out)

    def prepare(self, step: int) -> None:
        """Choose how the remaining steps run; called once, after the optimiser's state exists."""
        self.prepared = True
        start = time.perf_counter()
        if self.compile is False or self._untraceable_optimizer or self.steps - step < 1:
            return
        single = self.opaque or self.shard is not None or isinstance(self.feed, Stream)
        if not single and self.feed.size(step) != self._noise_batch:  # a ragged batch: the next one is not
            step += 1
        traced = self._graph(step)
        if traced is None:
            return
        graph = traced[0]
        cost = estimate_cost(graph.module)
        warn_of_operations(self, step, cost.operations)
        if self._choose_threads and is_tiny(cost):
            torch.set_num_threads(1)
        backend = str(self.compile)
        if backend == "c" or (backend == "auto" and choose_c(cost, self.expected_steps, self.device)):
            if self._run_in_c(graph, step, cost, single):
                self.compile_seconds = time.perf_counter() - start
                return
        if backend == "auto":
            backend = choose_backend(cost, self.expected_steps, self.device)
        if backend == "cudagraph" and self.device.type != "cuda":
            raise ConfigurationError('`compile="cudagraph"` needs a CUDA device. Use "auto", "trace" or "inductor".')
        if backend == "cudagraph" and single:
            backend = "trace"  # a captured graph can neither reseed a generator, nor wait for a batch or a peer
        self.backend = backend
        if backend == "inductor" and not single:
            self.block = block_steps(cost, graph.rows)
        compiled = backend == "inductor" or (
            self.compile == "auto"
            and backend == "cudagraph"
            and self.expected_steps * cost.operations > _COMPILE_ON_CUDA
        )
        try:
            runner = self._compile(graph) if compiled else interpreted(graph.module)
            if self.device.type == "cuda" and not single and backend in ("inductor", "cudagraph"):
                self._capture(graph, runner, choose_capture(cost, self.steps, self.feed.longest_run()))
            else:
                self._graphs[self.feed.size(step)] = (graph, runner)
        except RuntimeError as error:
            if self.compile != "auto":
                raise
            warn_uncompiled(error)
            self.backend, self.block = "trace", 1
        self.compile_seconds = time.perf_counter() - start

    def _run_in_c(self, graph: StepGraph, step: int, cost: Cost, single: bool) -> bool:
        """Run the steps as a C function, where there can be one; whether there can (an error, if it was asked for)."""
        runner = None
        if self.device.type == "cpu" and self.shard is None and not self.opaque:
            runner = compile_with_c(graph.module, graph.example, len(self.state.tensors), len(graph.rows))
        if runner is None:
            if self.compile == "c":
                raise ConfigurationError(
                    '`compile="c"` needs a C compiler and a step on the CPU that makes no draws of its own. This '
                    'step cannot be written in C: use "auto", which compiles it in another way where that pays.'
                )
            return False
        self._graphs[self.feed.size(step)] = (graph, runner)
        self.backend, self.block = "c", 1 if single else block_steps(cost, graph.rows)
        return True

    def leave_traces(self, again: bool = False) -> None:
        """From now on the program itself runs at every step, or (`again`) a new trace of it, which is not compiled."""
        self.backend, self.block, self.prepared = "eager", 1, not again
        self.compile = "cudagraph" if self.device.type == "cuda" else "trace"
        self._graphs, self._captured = {}, None

    def still_agrees(self, step: int) -> bool:
        """Whether the program does at `step` what its trace does; if not, say so: the steps then run eagerly.

        Some change only later: after a warm-up, or by something outside that no comparison of Python values shows.
        """
        traced = self._traced_step(step)
        if traced is None:
            return True
        names = find_restless(self, step)
        if cause := departure(self, step, *traced):
            warn_eager(cause)
            self.leave_traces()
        return not (cause or names)

    def _traced_step(self, step: int) -> tuple[StepGraph, TensorList] | None:
        """The trace that is in use for the batch size of `step`, and its inputs at the present state."""
        entry = self._graphs.get(self.feed.size(step))
        if entry is None:
            return None
        rows = [row[0] for row in self._rows(step, 1)]
        return entry[0], [*self.state.tensors, *self._shared(), *rows]

    def _compile(self, graph: StepGraph) -> Callable[..., Any]:
        count = 0 if self.shard is not None else len(self.state.tensors)  # a shard's graph returns gradients
        return compile_with_inductor(graph.module, graph.example, count)

    def _capture(self, graph: StepGraph, runner: Callable[..., Any], steps: int) -> None:
        count, row_start = len(self.state.tensors), len(graph.example) - len(graph.rows)
        rows = [torch.stack([row] * steps) for row in graph.rows]
        self._captured = CapturedGraph(runner, graph.example[:count], graph.example[count:row_start], rows)
        self.block = steps

    def _graph(self, step: int) -> tuple[StepGraph, Callable[..., Any]] | None:
        """The traced single step for the batch size of `step`, or None if the program cannot be traced."""
        size = self.feed.size(step)
        if size not in self._graphs:
            graph = trace_step(self, step)
            self._graphs[size] = None if graph is None else (graph, interpreted(graph.module))
        return self._graphs[size]

    def block_length(self, step: int, limit: int) -> int:
        """How many steps from `step`, at most `limit`, run in one call."""
        if self.block == 1 or self.feed.size(step) != self._noise_batch:
            return 1
        if self._captured is None:
            return self.feed.run_length(step, min(limit, self.block))
        whole = limit >= self.block and self.feed.run_length(step, self.block) == self.block
        return self.block if whole else 1

    def can_stop_every(self, steps: int) -> bool:
        """Whether calls can end at all multiples of `steps`, without many calls for single steps."""
        return self._captured is None or steps % self.block == 0

    def run(self, step: int, count: int) -> torch.Tensor:
        """Advance `count` steps from `step` (a value that :meth:`block_length` returned); bounds ``(count, 2)``."""
        if not self.prepared:
            self.prepare(step)
        if self._captured is not None and count == self.block and self.feed.size(step) == self._noise_batch:
            with torch.no_grad():
                tensors, bounds = self._captured(self.state.tensors, self._rows(step, count))
            self.state = self.state.with_tensors(tensors)
            return bounds
        entry = None if self.backend == "eager" else self._graph(step)
        if entry is None:
            return self.apply(step, self.gradients(step)).unsqueeze(0)
        return self._run_traced(entry[1], step, count)

    def _rows(self, step: int, count: int) -> TensorList:
        weights, rates = self.schedule(step, count)
        noise = self._noise_block(step, count, self.feed.size(step))
        return [*self.feed.rows(step, count), *noise, weights, rates]

    def _shared(self) -> TensorList:
        return list(self.feed.shared.values()) if self.feed.shared is not None else []

    def _run_traced(self, runner: Callable[..., Any], step: int, count: int) -> torch.Tensor:
        shared, rows, tensors = self._shared(), self._rows(step, count), self.state.tensors
        if isinstance(runner, CSteps):
            return runner([*tensors, *shared, *rows], count)
        self.seed_opaque(step)
        bounds = []
        with torch.no_grad():
            for row in zip(*rows, strict=True):
                *tensors, bound = runner(*tensors, *shared, *row)
                if self.shard is not None:
                    tensors, bound = self._update_together(tensors, bound, row[-1])
                bounds.append(bound)
        self.state = self.state.with_tensors(tensors)
        return torch.stack(bounds)

    def _update_together(
        self, tensors: TensorList, bounds: torch.Tensor, lr: torch.Tensor
    ) -> tuple[TensorList, torch.Tensor]:
        """Add up the processes' gradients, then update."""
        assert self.shard is not None and self.update_graph is not None
        count = len(self.state.parameters)
        out = self.shard.reduce(Gradients(tensors[:count], bounds, tensors[count:]))
        state = self.state
        new = self.update_graph(*state.parameters, *out.gradients, *state.optimizer, *state.average, lr)
        return [*new, *out.buffers], out.bounds
