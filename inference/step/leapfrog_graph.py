r"""Leapfrog steps of many chains at once, in one graph with the density that they climb.

.. math:: p \leftarrow p + \tfrac{\epsilon}{2} \nabla \log \pi(v), \qquad v \leftarrow v + \epsilon p, \qquad
   p \leftarrow p + \tfrac{\epsilon}{2} \nabla \log \pi(v), \qquad \pi(v) = \tilde p(L v)

A step is traced once, like a step of a fit: in C a whole trajectory is one call, on CUDA it is replayed from captured
graphs, elsewhere the trace is interpreted. No step waits for its numbers.
"""

from __future__ import annotations

__all__ = ["LeapfrogGraph", "Motion"]

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, fx

from ..devices import threads
from ..tensors import TensorList
from .compile.c.library import CSteps
from .compile.choice import is_tiny
from .compile.cost import estimate_cost
from .compile.cuda_graph import CapturedGraph
from .compile.graph import interpreted
from .density_graph import DensityGraph
from .recorded_function import compile_graph, record_function

_CAPTURED = 8  # leapfrog steps of the longer of two captured graphs

Runner = Callable[..., tuple[Tensor, ...]]


class Motion(NamedTuple):
    """Where C chains are.

    Attributes:
        v: positions, ``(C, D)``.
        p: momenta, ``(C, D)``.
        gradient: of the log density in v, ``(C, D)``.
        value: the log density, ``(C,)``, nats.
    """

    v: Tensor
    p: Tensor
    gradient: Tensor
    value: Tensor


class LeapfrogGraph:
    """``(v, p, gradient)`` of C chains after a number of leapfrog steps.

    Args:
        density: of u.
        factor: L, ``(D,)`` of a diagonal or ``(D, D)``, lower triangular.
        chains: C.

    Attributes:
        backend: ``"eager"``, ``"trace"``, ``"c"``, ``"inductor"`` or ``"cudagraph"``.
        gradients: evaluations of the density so far, each of all chains.
    """

    def __init__(self, density: DensityGraph, factor: Tensor, chains: int) -> None:
        self.density, self.factor, self.chains = density, factor.clone(), chains
        self.backend, self.gradients = "eager", 0
        self._step: Runner = self._leapfrog
        self._many: Callable[[TensorList, int], Tensor] | None = None  # updates the state in place
        self._captured: dict[int, CapturedGraph] = {}
        self._tiny = False  # whether a second thread would cost more than it gives

    def prepare(self, compile: bool | None, start: Tensor, calls: int) -> None:
        """Choose how steps are made.

        The rule is of the graph and of `calls` only, so that a run that goes on chooses as it did before.

        Args:
            compile: whether the step is compiled, or captured; None does so where that pays.
            start: ``u (D,)`` where the density has a value.
            calls: how many steps there will be.
        """
        module = record_function(self._leapfrog, self._example(start))
        if module is None:
            return
        cost = estimate_cost(module)
        device = self.factor.device
        self.backend, self._step = "trace", interpreted(module)
        self._tiny = device.type == "cpu" and is_tiny(cost)
        if compile is False:
            return
        example = self._example(start)
        if device.type == "cuda":
            self._capture(module, example)
            return
        found = compile_graph(module, example, 3, 1, cost=cost, calls=calls, wanted=bool(compile))
        if isinstance(found, CSteps):
            self._many, self.backend = found, "c"
        elif found is not None:
            self._step, self.backend = found, "inductor"

    def set_factor(self, factor: Tensor) -> None:
        """Move in other coordinates from now on."""
        self.factor.copy_(factor)

    def to_u(self, v: Tensor) -> Tensor:
        """``L v`` of rows ``(K, D)``."""
        return v * self.factor if self.factor.dim() == 1 else v @ self.factor.mT

    def to_v(self, u: Tensor) -> Tensor:
        """The inverse of :meth:`to_u`."""
        if self.factor.dim() == 1:
            return u / self.factor
        return torch.linalg.solve_triangular(self.factor, u.mT, upper=False).mT.contiguous()

    def at(self, v: Tensor) -> Motion:
        """The density at ``v (C, D)``, at rest: a step of no length."""
        rest = torch.zeros_like(v)
        return self(Motion(v, rest, rest, v.new_zeros(len(v))), 0.0, 1)

    def __call__(self, start: Motion, step_size: float, count: int) -> Motion:
        """Make `count` steps. The start stays as it is."""
        self.gradients += count
        epsilon = torch.full((), step_size, dtype=self.factor.dtype, device=self.factor.device)
        state = [tensor.clone() for tensor in start[:3]]
        with torch.no_grad(), threads(1 if self._tiny else None):
            if self._captured:
                return self._replay(state, epsilon, count)
            if self._many is not None:
                value = self._many([*state, self.factor, epsilon.expand(count)], count)[-1]
                return Motion(state[0], state[1], state[2], value)
            value = start.value
            for _ in range(count):
                *state, value = self._step(*state, self.factor, epsilon)
        return Motion(state[0], state[1], state[2], value)

    def _leapfrog(self, v: Tensor, p: Tensor, gradient: Tensor, factor: Tensor, epsilon: Tensor) -> tuple[Tensor, ...]:
        middle = p + 0.5 * epsilon * gradient
        v = v + epsilon * middle
        diagonal = factor.dim() == 1
        value, slope = self.density.eagerly(v * factor if diagonal else v @ factor.mT)
        gradient = slope * factor if diagonal else slope @ factor
        return v, middle + 0.5 * epsilon * gradient, gradient, value

    def _example(self, start: Tensor) -> TensorList:
        v = self.to_v(start.expand(self.chains, -1)).contiguous()
        return [v, torch.ones_like(v), torch.zeros_like(v), self.factor, v.new_full((), 1e-3)]

    def _capture(self, module: fx.GraphModule, example: TensorList) -> None:
        runner = interpreted(module)
        for length in (_CAPTURED, 1):
            rows = [example[4].expand(length)]
            self._captured[length] = CapturedGraph(runner, example[:3], [self.factor], rows)
        self.backend = "cudagraph"

    def _replay(self, state: TensorList, epsilon: Tensor, count: int) -> Motion:
        values = [state[0][:, 0]]
        for length, graph in self._captured.items():
            for _ in range(count // length):
                state, found = graph(state, [epsilon.expand(length)])
                values = [found[-1]]
            count %= length
        v, p, gradient = (tensor.clone() for tensor in state)
        return Motion(v, p, gradient, values[0])
