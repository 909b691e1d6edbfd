"""A Markov chain as parameters of a model: its zeros stay zero, and say how the recursions must go."""

from __future__ import annotations

__all__ = ["MarkovChain"]

from typing import Any

import torch
from pyro.nn import PyroParam
from torch import Tensor, nn

from .expected_counts import HiddenMarkovStatistics, normalize_counts
from .log_space import needs_logs
from .stochastic_matrix import SparseSimplex, is_deterministic, keep_zeros


class MarkovChain(nn.Module):
    r"""A model with :math:`\pi`, ``(C,)``, in `initial` and :math:`A`, ``(C, C)``, in `transition`."""

    initial: Any  # PyroParams, which read as their constrained values
    transition: Any
    _in_logs: bool  # whether the recursions go in logarithms
    _known: frozenset[str] = frozenset()

    def _add_chain(self, num_states: int) -> None:
        """Build the parameters: states that mostly stay."""
        self.initial = PyroParam(torch.full((num_states,), 1.0 / num_states), SparseSimplex())
        change = torch.full((num_states, num_states), 0.2 / num_states) + 0.8 * torch.eye(num_states)
        self.transition = PyroParam(change, SparseSimplex())

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "transition":
            self._in_logs = needs_logs(self.transition)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._in_logs = needs_logs(self.transition)

    def _look_at_zeros(self) -> None:
        """See whether the recursions must go in logarithms: a fit's steps cannot branch on a tensor's value.

        Probabilities that zeros leave no freedom, such as a first state that is known, are constants of the fit.
        """
        self._in_logs = needs_logs(self.transition)
        known = {name for name in ("initial", "transition") if is_deterministic(getattr(self, name))}
        for name in known ^ self._known:
            getattr(self, f"{name}_unconstrained").requires_grad_(name not in known)
        self._known = frozenset(known)

    def _start_chain(self, initial: Tensor, transition: Tensor) -> None:
        """Start at chances that are positive throughout, but for the present zeros."""
        self.initial, self.transition = keep_zeros(initial, self.initial), keep_zeros(transition, self.transition)

    def _maximise_chain(self, statistics: HiddenMarkovStatistics) -> None:
        """Set the chances to the maximiser; those of a state that is never visited stay."""
        self.initial = normalize_counts(statistics.initial, self.initial)
        self.transition = normalize_counts(statistics.transitions, self.transition)
