"""One step as a graph, and several steps unrolled into one, so that a compiler sees and fuses them together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from .function import StepFunction, StepNoise
from .graph import trace
from .state import StepState

__all__ = ["StepGraph"]

Tensors = list[torch.Tensor]


class StepGraph:
    """The traced step: ``(state, data, row inputs) -> (state, bounds)``.

    The row inputs of one step are its batch indices (or the batch itself), its noise, its annealing weight and its
    learning rate; a block stacks the rows of its steps.

    Args:
        function: the step's gradient.
        update: the traced update over ``(*parameters, *gradients, *state, *average, lr)``; with None the graph
            returns ``(*gradients, *buffers, bounds)``, for processes that must first add their gradients up.
        state: an example state.
        keys: the batch's keys, in the order of `data`.
        data: example data: the whole data set when `index` is given, else one batch.
        index: example batch indices, or None.
        noise: example noise of the step.
    """

    def __init__(
        self,
        function: StepFunction,
        update: fx.GraphModule | None,
        state: StepState,
        keys: Sequence[str],
        data: Tensors,
        index: torch.Tensor | None,
        noise: StepNoise,
        weight: torch.Tensor,
        lr: torch.Tensor,
    ) -> None:
        self.state, self.indexed, self.num_data = state, index is not None, len(data)
        scheduled = function.objective.is_scheduled
        constant_weight = function.objective.schedule(1.0)

        def step(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            current, rest = self._split(inputs)
            tensors, rows = rest[: self.num_data], rest[self.num_data :]
            if self.indexed:
                tensors, rows = [tensor.index_select(0, rows[0]) for tensor in tensors], rows[1:]
            batch = dict(zip(keys, tensors, strict=True))
            row_noise, row_weight, row_lr = StepNoise(*rows[:4]), rows[4], rows[5]
            out = function(
                current.parameters, current.buffers, batch, row_noise, row_weight if scheduled else constant_weight
            )
            if update is None:
                return (*out.gradients, *out.buffers, out.bounds)
            new = update(*current.parameters, *out.gradients, *current.optimizer, *current.average, row_lr)
            return (*new, *out.buffers, out.bounds)

        row = [*([index] if index is not None else []), *noise.tensors, weight, lr]
        self.example = [*state.tensors, *data, *row]
        self.module = trace(step, [tensor.detach() for tensor in self.example])

    def _split(self, inputs: Sequence[torch.Tensor]) -> tuple[StepState, Tensors]:
        count = len(self.state.tensors)
        return self.state.with_tensors(list(inputs[:count])), list(inputs[count:])

    def unrolled(self, steps: int) -> tuple[fx.GraphModule, Tensors]:
        """A graph of `steps` consecutive steps over stacked rows, and example inputs for it."""
        count = len(self.state.tensors)

        def block(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            current, data = list(inputs[:count]), inputs[count : count + self.num_data]
            stacked = inputs[count + self.num_data :]
            bounds = []
            for i in range(steps):
                out = self.module(*current, *data, *(rows[i] for rows in stacked))
                current = list(out[:-1])
                bounds.append(out[-1])
            return (*current, torch.stack(bounds))

        row_start = count + self.num_data
        stacked = [torch.stack([row] * steps) for row in self.example[row_start:]]
        inputs = [*self.example[:row_start], *stacked]
        return trace(block, [tensor.detach() for tensor in inputs]), inputs
