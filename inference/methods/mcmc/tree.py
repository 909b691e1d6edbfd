r"""One transition of the no-U-turn sampler, as a coroutine that asks for the log density where it needs it.

The momentum is standard normal, :math:`H(v, p) = -\log \pi(v) + \tfrac12 p^\top p`: the metric is in the coordinates
(:mod:`.metric`). A trajectory of leapfrog steps is doubled, forwards or backwards at random, until a half of it turns:

.. math:: d^\top p_- \le 0 \;\text{ or }\; d^\top p_+ \le 0, \qquad d = \sum_i p_i - \tfrac12 (p_- + p_+)

A state of it is drawn with weights :math:`\exp(-H)`, of a new half with preference over the old one.

References: Hoffman and Gelman (2014), The No-U-Turn Sampler, https://jmlr.org/papers/v15/hoffman14a.html
Betancourt (2017), A conceptual introduction to Hamiltonian Monte Carlo, https://arxiv.org/abs/1701.02434
Phan, Pradhan and Jankowiak (2019), Composable effects for flexible and accelerated probabilistic programming in NumPyro
(the iterative tree), https://arxiv.org/abs/1912.11554
"""

from __future__ import annotations

__all__ = ["DIVERGENCE", "Ask", "Place", "Transition", "reasonable_step", "transition"]

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

DIVERGENCE = 1000.0  # nats of energy that a leapfrog step may lose
_HALF = math.log(0.5)
_MOST_DOUBLINGS = 60  # of a first step size

Array = np.ndarray
_T = TypeVar("_T")
Ask = Generator[Array, tuple[float, Array], _T]  # yields a position; is sent its log density and gradient


@dataclass(frozen=True)
class Place:
    """A position ``v (D,)``, its log density in nats and the gradient of that, ``(D,)``."""

    v: Array
    value: float
    gradient: Array


@dataclass(frozen=True)
class Transition:
    """Where a transition ended, and how it went.

    Attributes:
        place: the draw.
        acceptance: the mean of ``min(1, exp(-change of energy))`` over the leapfrog steps.
        energy: H at the start, with its momentum, nats.
        leapfrogs: steps, each of one gradient.
        depth: doublings.
        diverged: whether a step lost more than 1,000 nats.
    """

    place: Place
    acceptance: float
    energy: float
    leapfrogs: int
    depth: int
    diverged: bool


def transition(start: Place, step_size: float, rng: np.random.Generator, max_depth: int) -> Ask[Transition]:
    """Draw the next state of a chain at `start`.

    Args:
        start: the present state.
        step_size: of the leapfrog steps.
        rng: of the momentum, the directions and the choices.
        max_depth: the most doublings.
    """
    p = rng.standard_normal(len(start.v))
    origin = start.value - 0.5 * float(p @ p)
    ends = [(start.v, p, start.gradient)] * 2  # backwards, forwards
    momentum, log_weight, chosen = p, 0.0, start
    accepted, leapfrogs, depth = 0.0, 0, 0
    diverged = False
    while depth < max_depth:
        forward = int(rng.random() < 0.5)
        half = yield from _half(ends[forward], step_size if forward else -step_size, depth, origin, rng)
        accepted, leapfrogs, depth = accepted + half.accepted, leapfrogs + half.leapfrogs, depth + 1
        diverged = half.diverged
        if half.turned or diverged:
            break
        if math.log(1.0 - rng.random()) < half.log_weight - log_weight:
            chosen = half.chosen
        log_weight = _log_add(log_weight, half.log_weight)
        ends[forward], momentum = half.end, momentum + half.momentum
        if _turns(ends[0][1], ends[1][1], momentum):
            break
    return Transition(chosen, accepted / leapfrogs, -origin, leapfrogs, depth, diverged)


@dataclass(frozen=True)
class _Half:
    end: tuple[Array, Array, Array]
    momentum: Array
    log_weight: float
    chosen: Place
    accepted: float
    leapfrogs: int
    turned: bool
    diverged: bool


def _half(
    end: tuple[Array, Array, Array], step: float, depth: int, origin: float, rng: np.random.Generator
) -> Ask[_Half]:
    """The ``2^depth`` states beyond `end`; fewer, where a part of them turns or the energy is lost."""
    v, p, gradient = end
    momentum = np.zeros_like(p)
    kept: list[tuple[Array, Array]] = [(p, p)] * (depth + 1)  # of the parts that are open: first p, and sum up to it
    log_weight, accepted, chosen = -math.inf, 0.0, None
    turned = diverged = False
    for leaf in range(2**depth):
        middle = p + 0.5 * step * gradient
        v = v + step * middle
        value, gradient = yield v
        p = middle + 0.5 * step * gradient
        change = value - 0.5 * float(p @ p) - origin
        if not change > -DIVERGENCE:  # also where there is no number
            diverged = True
            break
        accepted += 1.0 if change > 0.0 else math.exp(change)
        log_weight = _log_add(log_weight, change)
        if math.log(1.0 - rng.random()) < change - log_weight or chosen is None:
            chosen = Place(v, value, gradient)
        momentum = momentum + p
        newest = (leaf >> 1).bit_count()
        if leaf % 2 == 0:
            kept[newest] = (p, momentum)
            continue
        closed = _trailing_ones(leaf)
        for first, before in kept[newest - closed + 1 : newest + 1]:
            if _turns(first, p, momentum - before + first):
                turned = True
                break
        if turned:
            break
    place = chosen or Place(v, -math.inf, gradient)
    return _Half((v, p, gradient), momentum, log_weight, place, accepted, leaf + 1, turned, diverged)


def _turns(first: Array, last: Array, momentum: Array) -> bool:
    way = momentum - 0.5 * (first + last)
    return float(way @ first) <= 0.0 or float(way @ last) <= 0.0


def _log_add(a: float, b: float) -> float:
    high, low = (a, b) if a > b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _trailing_ones(number: int) -> int:
    return (~number & (number + 1)).bit_length() - 1


def reasonable_step(start: Place, step_size: float, rng: np.random.Generator) -> Ask[float]:
    """A step size whose one leapfrog step keeps about half of the density: doubled or halved from `step_size`."""
    p = rng.standard_normal(len(start.v))
    origin = start.value - 0.5 * float(p @ p)
    direction = 0
    for _ in range(_MOST_DOUBLINGS):
        middle = p + 0.5 * step_size * start.gradient
        value, gradient = yield start.v + step_size * middle
        last = middle + 0.5 * step_size * gradient
        change = value - 0.5 * float(last @ last) - origin
        wanted = 1 if change > _HALF else -1  # not a number: too long
        if direction and wanted != direction:
            break
        direction = wanted
        step_size *= 2.0**direction
    return step_size
