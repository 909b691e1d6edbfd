"""Schedules of a run: the annealing weight and the learning rate of each step."""

from __future__ import annotations

__all__ = ["StepSchedules"]

import torch

from ..objectives.base import Objective
from .learning_rates import LearningRates

_SMALLEST_RATE = 1e-20  # torch's Adam, where the rate is a tensor, divides by it: a rate of zero would give NaN


class StepSchedules:
    """Weights and rates as pure functions of the step, as numbers for the host and as rows on the device.

    Args:
        objective: whose annealing weight it is.
        rates: the learning rates.
        steps: the run's total number of steps.
        device, dtype: of the rows.
    """

    def __init__(
        self, objective: Objective, rates: LearningRates, steps: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.objective, self.rates, self.steps = objective, rates, steps
        self.device, self.dtype = device, dtype
        self._constant: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def changes(self) -> bool:
        return self.objective.is_scheduled or self.rates.changes

    def weight(self, step: int) -> float:
        """The annealing weight of `step` (from 0); the last step has the schedule's final value."""
        return self.objective.schedule(min(step / max(self.steps - 1, 1), 1.0))

    def rate(self, step: int) -> float:
        """The learning rate of `step`."""
        return self.rates(step)

    def __call__(self, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and rates ``(count,)`` of the steps from `start` on, as tensors on the device."""
        if not self.changes and count in self._constant:
            return self._constant[count]
        steps = range(start, start + count)
        weights = torch.tensor([self.weight(step) for step in steps], dtype=self.dtype, device=self.device)
        positive = [max(self.rate(step), _SMALLEST_RATE) for step in steps]
        rates = torch.tensor(positive, dtype=self.dtype, device=self.device)
        if not self.changes:
            self._constant[count] = (weights, rates)
        return weights, rates
