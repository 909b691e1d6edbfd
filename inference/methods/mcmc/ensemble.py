"""Many chains as one tensor: transitions of all of them at once, on the device of the data."""

from __future__ import annotations

__all__ = ["Ended", "step_of_half", "together"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...step.leapfrog_graph import LeapfrogGraph, Motion
from .trajectory_length import criterion_gradient
from .tree import DIVERGENCE

_MOST_DOUBLINGS = 60  # of a first step size


@dataclass(frozen=True)
class Ended:
    """Where a transition ended.

    Attributes:
        motion: the draws.
        acceptance: of each trajectory's end, ``(C,)``.
        energy: H at the start, with its momentum, ``(C,)``, nats.
        diverged: whether the end lost more than 1,000 nats, or has no value, ``(C,)``.
        told: the harmonic mean of acceptances, and the gradient of the criterion, ``(2,)``; None where nobody asked.
    """

    motion: Motion
    acceptance: Tensor
    energy: Tensor
    diverged: Tensor
    told: Tensor | None


def together(
    graph: LeapfrogGraph, start: Motion, step_size: float, leapfrogs: int, p: Tensor, uniform: Tensor, adapting: bool
) -> Ended:
    """One transition of C chains: the ends of their trajectories, or their starts again. Nothing waits for a number.

    Args:
        graph: makes the leapfrog steps.
        start: where the chains are.
        step_size: of all.
        leapfrogs: steps of all.
        p: standard normal momenta, ``(C, D)``.
        uniform: numbers in [0, 1) for the choices, ``(C,)``.
        adapting: whether to find what step size and length are adapted by.
    """
    origin = start.value - 0.5 * p.square().sum(-1)
    end = graph(start._replace(p=p), step_size, leapfrogs)
    change = end.value - 0.5 * end.p.square().sum(-1) - origin
    change = torch.where(change.isfinite(), change, -math.inf)
    acceptance = change.clamp(max=0.0).exp()
    told = None
    if adapting:
        harmonic = acceptance.clamp(min=torch.finfo(acceptance.dtype).tiny).reciprocal().mean().reciprocal()
        slope = criterion_gradient(start.v, end.v, end.p, acceptance, step_size * leapfrogs)
        told = torch.stack([harmonic, slope])
    taken = uniform < acceptance
    rows = taken.unsqueeze(-1)
    motion = Motion(
        torch.where(rows, end.v, start.v),
        p,
        torch.where(rows, end.gradient, start.gradient),
        torch.where(taken, end.value, start.value),
    )
    return Ended(motion, acceptance, -origin, change < -DIVERGENCE, told)


def step_of_half(graph: LeapfrogGraph, start: Motion, step_size: float, p: Tensor) -> float:
    """A step size whose one leapfrog step is accepted by half of the chains: doubled or halved from `step_size`."""
    origin = start.value - 0.5 * p.square().sum(-1)
    direction = 0
    for _ in range(_MOST_DOUBLINGS):
        end = graph(start._replace(p=p), step_size, 1)
        change = end.value - 0.5 * end.p.square().sum(-1) - origin
        acceptance = torch.where(change.isfinite(), change, -math.inf).clamp(max=0.0).exp()
        wanted = 1 if float(acceptance.mean()) > 0.5 else -1
        if direction and wanted != direction:
            break
        direction = wanted
        step_size *= 2.0**direction
    return step_size
