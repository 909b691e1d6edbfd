"""The best distributions of a guide's family, datum by datum, from the guide's own."""

from __future__ import annotations

__all__ = ["Refined", "refine"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...pair.program import Program
from ...pair.second_run import detached
from ...pair.terms import evaluate
from ...seeding import derive_seed
from ...tensors import Batch
from .factors import Factors, Values

_DOUBT, _BEYOND_DOUBT = 2.0, 3.0  # standard errors
_ROUND = 50  # steps between two looks at the bound
_RATES = (0.1, 0.03, 0.01)  # of Adam, in the units of the guide's own distributions
_DAMPING = 3.0  # slopes well below three rates move by a third of themselves: rounding errors do not grow
_LEAST = 5e-4  # nats per datum: gains below it are none
_SHARE = 1e-3  # of what was gained before: likewise


@dataclass(frozen=True)
class Refined:
    """The end of a refinement.

    Attributes:
        steps: how many were made.
        converged: whether the last look at the lowest rate saw nothing gained.
        gain: what the last round gained, nats per datum.
    """

    steps: int
    converged: bool
    gain: float


def refine(factors: Factors, batch: Batch, *, steps: int, num_particles: int, num_checked: int, seed: int) -> Refined:
    r"""Raise each datum's :math:`\mathbb E_{q_n} [\log p(x_n, z) - \log q_n(z)]` over the parameters of :math:`q_n`.

    Adam on all data at once, whose coordinates do not know of each other, by the path derivative (whose noise vanishes
    where :math:`q_n` is the posterior); with rates that fall where a round gains nothing, by draws of the same seed,
    and the mean of a round's second half in the place of its end. Each round has the units of the distributions that it
    starts at. A datum whose bound fell in a round, beyond doubt, goes back to where it was. `factors` is left where the
    last round ended.

    Args:
        factors: read on `batch`.
        batch: ``(B, …)``.
        steps: at most so many.
        num_particles: draws of a step.
        num_checked: draws of a look.
        seed: of all draws.
    """
    program, present, done, level, converged, gain = factors.program, factors.start, 0, 0, False, math.inf
    torch.manual_seed(derive_seed(seed, "refine"))  # of a generator that `scored` puts back
    bound = start = _bounds(factors, present, batch, num_checked, seed)
    while done < steps and not converged:
        count = min(_ROUND, steps - done)
        moved = _round(program, factors, present, batch, count, num_particles, _RATES[level])
        done += count
        reached = _bounds(factors, moved, batch, num_checked, seed)
        fallen = _has_fallen(reached - bound)
        present, reached = factors.choose(fallen, present, moved), torch.where(fallen, bound, reached)
        rise = (reached - bound).mean(1)  # of the same draws
        bound, gain = reached, float(rise.mean())
        least = max(_LEAST, _SHARE * float((bound - start).mean()), _DOUBT * float(rise.std()) / num_checked**0.5)
        if gain <= least:
            level, converged = min(level + 1, len(_RATES) - 1), level == len(_RATES) - 1
    back = _has_fallen(bound - start)
    factors.set(factors.choose(back, factors.start, present))
    return Refined(done, converged, gain)


def _has_fallen(rise: Tensor) -> Tensor:
    """``(B,)``: the data whose bound fell, beyond doubt, given the rise ``(K, B)`` of each draw."""
    return ~(rise.mean(0) >= -_BEYOND_DOUBT * rise.std(0) / len(rise) ** 0.5)


def _round(
    program: Program,
    factors: Factors,
    start: Values,
    batch: Batch,
    steps: int,
    num_particles: int,
    rate: float,
) -> Values:
    """The mean of the second half of `steps` steps from `start`."""
    moves = factors.zeros()
    leaves = [u.requires_grad_(True) for parameters in moves.values() for u in parameters.values()]
    sums = [torch.zeros_like(u) for u in leaves]
    adam = torch.optim.Adam(leaves, lr=rate, betas=(0.9, 0.99), eps=_DAMPING * rate)
    for step in range(steps):
        with torch.enable_grad(), detached(program):
            values = factors.move(start, moves)
            draws = factors.draw(values, num_particles)
            # the path derivative: the draws know of the parameters, the density does not
            factors.set({name: {key: v.detach() for key, v in part.items()} for name, part in values.items()})
            terms = evaluate(program, batch, num_particles=num_particles, values=draws)
            assert terms.log_weight_local is not None
            loss = -terms.log_weight_local.mean(0).sum()
            gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            # a datum whose density is nowhere finite stands still, and the others go on
            leaf.grad = None if gradient is None else gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        adam.step()
        if step >= steps // 2:
            for total, leaf in zip(sums, leaves, strict=True):
                total += leaf.detach()
    means = iter([total / (steps - steps // 2) for total in sums])
    averaged = {name: {key: next(means) for key in parameters} for name, parameters in moves.items()}
    return factors.move(start, averaged)


def _bounds(factors: Factors, values: Values, batch: Batch, num_particles: int, seed: int) -> Tensor:
    """``(K, B)``: log weights at `values`, by the draws that every look has; not finite is as bad as can be."""
    factors.set(values)
    at = derive_seed(seed, "look")
    terms = evaluate(factors.program, batch, num_particles=num_particles, seed=at)
    assert terms.log_weight_local is not None
    return terms.log_weight_local.double().nan_to_num(nan=-1e30, posinf=-1e30, neginf=-1e30)
