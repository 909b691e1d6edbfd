"""Everything a step changes, as one flat list of tensors."""

from __future__ import annotations

__all__ = ["StepState"]

from dataclasses import dataclass
from itertools import islice

from ..tensors import TensorList


@dataclass(frozen=True)
class StepState:
    """Parameters, optimiser state, averaged parameters and buffers after some number of steps."""

    parameters: TensorList
    optimizer: TensorList
    average: TensorList
    buffers: TensorList

    @property
    def tensors(self) -> TensorList:
        return [*self.parameters, *self.optimizer, *self.average, *self.buffers]

    def with_tensors(self, tensors: TensorList) -> StepState:
        """The same layout around new tensors."""
        parts, rest = (self.parameters, self.optimizer, self.average, self.buffers), iter(tensors)
        return StepState(*(list(islice(rest, len(part))) for part in parts))

    def clone(self) -> StepState:
        return self.with_tensors([tensor.detach().clone() for tensor in self.tensors])
