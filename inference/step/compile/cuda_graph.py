"""A block of steps as one CUDA graph."""

from __future__ import annotations

__all__ = ["CapturedGraph"]

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...tensors import TensorList


class CapturedGraph:
    """A block of steps captured once in a CUDA graph and replayed: no launch gaps and no Python per kernel.

    State lives in static tensors and is updated in place by the replay; rows are copied in, bounds copied out.

    Args:
        runner: one step, ``(*state, *data, *its rows) -> (*state, bounds)``.
        state: an example state.
        data: what all steps share.
        rows: example rows, stacked ``(steps, …)``: their number is the block's length.
    """

    def __init__(self, runner: Callable[..., Any], state: TensorList, data: TensorList, rows: TensorList) -> None:
        self.state = [tensor.detach().clone() for tensor in state]
        self.rows = [row.detach().clone() for row in rows]
        self.data = data
        start = [tensor.clone() for tensor in self.state]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.no_grad():
            for _ in range(2):
                self._steps(runner)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph), torch.no_grad():
            new, self.bounds = self._steps(runner)
            _copy(self.state, new)
        _copy(self.state, start)

    def _steps(self, runner: Callable[..., Any]) -> tuple[TensorList, torch.Tensor]:
        state, bounds = self.state, []
        for row in zip(*self.rows, strict=True):
            *state, bound = runner(*state, *self.data, *row)
            bounds.append(bound)
        return state, torch.stack(bounds)

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
