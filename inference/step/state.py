"""Everything a step changes, as one flat list of tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..tensors import TensorList

__all__ = ["StepState"]


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
        cuts = [len(self.parameters), len(self.optimizer), len(self.average), len(self.buffers)]
        parts, start = [], 0
        for length in cuts:
            parts.append(list(tensors[start : start + length]))
            start += length
        return replace(self, parameters=parts[0], optimizer=parts[1], average=parts[2], buffers=parts[3])

    def clone(self) -> StepState:
        return self.with_tensors([tensor.detach().clone() for tensor in self.tensors])
