"""Which of the forward algorithms to use."""

from __future__ import annotations

__all__ = ["expectations", "log_evidence"]

from dataclasses import replace

import torch
from torch import Tensor

from .forward_backward import Smoothed, log_evidence_sequential, smooth
from .log_space import needs_logs, scan_in_logs, sequential_in_logs, smooth_in_logs
from .scan import log_evidence_scan

_FEWEST_STEPS = 32
_MOST_WORK = 512  # N C^2: about half of where they took the same time on a CPU core, whatever T, N and C
_MOST_NUMBERS = 4_000_000  # in one level of the scan


def _by_scan(emission: Tensor, in_logs: bool) -> bool:
    """The rule, on shapes alone: few sequences, long and of few states."""
    steps, num, states = emission.shape
    numbers = steps * num * states ** (3 if in_logs else 2)
    return num * states**2 <= _MOST_WORK and numbers <= _MOST_NUMBERS and steps >= _FEWEST_STEPS


def log_evidence(
    initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None, in_logs: bool | None = None
) -> Tensor:
    r""":math:`\log p(x_n)`, ``(N,)``: by the scan where sequences are few, long and of few states, else step by step.

    The scan is used where ``T >= 32``, ``N C^2 <= 512`` and ``T N C^2 <= 4e6`` (in logarithms, ``T N C^3``). Both give
    the same numbers. A sequence of which no step is data has evidence 1.

    Args:
        initial, transition, emission, mask: as for :func:`~.forward_backward.forward`.
        in_logs: whether to go in logarithms, which no impossible transition can mislead; as `needs_logs` says if None.
    """
    in_logs = needs_logs(transition) if in_logs is None else in_logs
    if in_logs:
        algorithm = scan_in_logs if _by_scan(emission, True) else sequential_in_logs
    else:
        algorithm = log_evidence_scan if _by_scan(emission, False) else log_evidence_sequential
    return _of_steps(algorithm(initial, transition, emission, mask), mask)


def _of_steps(log_p: Tensor, mask: Tensor | None) -> Tensor:
    """The log evidence, which is zero for a sequence without a step."""
    return log_p if mask is None else torch.where(mask[0], log_p, 0.0)


def expectations(
    initial: Tensor, transition: Tensor, emission: Tensor, mask: Tensor | None, times: Tensor | None = None
) -> Smoothed:
    r"""Posteriors of states and transitions, by the same rule; each sequence's `times` its own ``(N,)``, if given.

    The scan's backward recursion is its own derivative:

    .. math:: p(s_t = j \mid x) = \frac{\partial \log p(x)}{\partial \ell_t(j)}, \qquad
       \sum_t p(s_{t-1} = i, s_t = j \mid x) = A_{ij} \frac{\partial \log p(x)}{\partial A_{ij}}.
    """
    in_logs = needs_logs(transition)
    if not _by_scan(emission, in_logs):
        found = (smooth_in_logs if in_logs else smooth)(initial, transition, emission, mask, times)
        return replace(found, log_evidence=_of_steps(found.log_evidence, mask))
    scan = scan_in_logs if in_logs else log_evidence_scan
    with torch.enable_grad():
        change, logs = transition.detach().requires_grad_(), emission.detach().requires_grad_()
        log_p = scan(initial.detach(), change, logs, mask)
        total = log_p.sum() if times is None else (log_p * times).sum()
        to_change, states = torch.autograd.grad(total, (change, logs))
    if mask is not None:
        states = torch.where(mask.unsqueeze(-1), states, 0.0)
    return Smoothed(_of_steps(log_p.detach(), mask), states, change.detach() * to_change)
