"""Chains that run side by side: every call of the density serves all that wait for it."""

from __future__ import annotations

__all__ = ["run_together"]

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from .metric import Metric
from .tree import Ask

_T = TypeVar("_T")
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def run_together(chains: Sequence[Ask[_T]], evaluate: Evaluate, metric: Metric, u: np.ndarray) -> list[_T]:
    """What each coroutine returns.

    None waits for another: one that is done with a transition begins its next one while others are in a longer one.
    Each has a row of its own in every call, so that what it gets does not depend on the others.

    Args:
        chains: one coroutine a chain.
        evaluate: log densities ``(C,)`` and gradients ``(C, D)`` of rows ``u (C, D)``.
        metric: the coordinates that the chains move in.
        u: ``(C, D)`` where the density has values: rows of chains that ask for nothing.
    """
    results: dict[int, _T] = {}
    v = metric.to_v(u)
    asking = list(range(len(chains)))

    def resume(index: int, answer: tuple[float, np.ndarray] | None) -> bool:
        try:
            v[index] = next(chains[index]) if answer is None else chains[index].send(answer)
        except StopIteration as stop:
            results[index] = stop.value
            return False
        return True

    with np.errstate(over="ignore", invalid="ignore"):  # of trajectories that lose all energy, which say so
        asking = [index for index in asking if resume(index, None)]
        while asking:
            values, gradients = evaluate(metric.to_u(v))
            pulled = metric.pull(gradients)
            told = values.tolist()
            asking = [index for index in asking if resume(index, (told[index], pulled[index]))]
    return [results[index] for index in range(len(chains))]
