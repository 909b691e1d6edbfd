"""One step as a graph."""

from __future__ import annotations

__all__ = ["StepGraph"]

from collections.abc import Sequence

import torch
from torch import fx

from ..tensors import Batch, TensorList
from .compile.graph import trace
from .function import StepFunction, StepInputs, StepNoise
from .state import StepState


class StepGraph:
    """The traced step: ``(state, shared data, row inputs) -> (state, bounds)``.

    The row inputs of one step are its batch (unless all steps share one), its noise, its annealing weight and its
    learning rate.

    Args:
        function: the step's gradient.
        update: the traced update over ``(*parameters, *gradients, *state, *average, lr)``; with None the graph
            returns ``(*gradients, *buffers, bounds)``, for processes that must first add their gradients up.
        state: an example state.
        batch: an example batch.
        shared: whether all steps share the batch.
        noise: example noise of the step.
        weight, lr: example scalars.
    """

    def __init__(
        self,
        function: StepFunction,
        update: fx.GraphModule | None,
        state: StepState,
        batch: Batch,
        shared: bool,
        noise: StepNoise,
        weight: torch.Tensor,
        lr: torch.Tensor,
    ) -> None:
        self.state = state
        keys = list(batch)
        scheduled = function.objective.is_scheduled
        constant_weight = function.objective.schedule(1.0)

        def step(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            current, rest = self._split(inputs)
            inner = dict(zip(keys, rest, strict=False))
            noise_and_scalars = rest[len(keys) :]
            row_noise, row_weight, row_lr = StepNoise(*noise_and_scalars[:4]), *noise_and_scalars[4:]
            weight = row_weight if scheduled else constant_weight
            out = function(current.parameters, current.buffers, StepInputs(inner, row_noise, weight))
            if update is None:
                return (*out.gradients, *out.buffers, out.bounds)
            new = update(*current.parameters, *out.gradients, *current.optimizer, *current.average, row_lr)
            return (*new, *out.buffers, out.bounds)

        own = () if shared else tuple(batch.values())
        self.rows = [*own, *noise.tensors, weight, lr]
        self.example = [*state.tensors, *(batch.values() if shared else ()), *self.rows]
        self.module = trace(step, [tensor.detach() for tensor in self.example])

    def _split(self, inputs: Sequence[torch.Tensor]) -> tuple[StepState, TensorList]:
        count = len(self.state.tensors)
        return self.state.with_tensors(list(inputs[:count])), list(inputs[count:])
