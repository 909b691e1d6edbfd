r"""A pilot run, with random numbers of its own: it learns temperatures, coordinates and step sizes, which are frozen.

Particles are resampled at each inverse temperature and moved there a few times. The next one is where the conditional
effective sample size of the weights, of K particles that count alike,

.. math:: \frac{\big(\sum_k w_k\big)^2}{\sum_k w_k^2} = \rho K, \qquad w_k = e^{(\beta' - \beta)\, g(u_k)},

has fallen to a half. What would be adapted inside of the run would depend on its particles, and bias their weights.

References: Zhou, Johansen and Aston (2016), Toward automatic model comparison: an adaptive sequential Monte Carlo
approach, https://arxiv.org/abs/1303.3123; Jasra, Stephens, Doucet and Tsagaris (2011), Inference for Lévy-driven
stochastic volatility models via adaptive sequential Monte Carlo, https://doi.org/10.1111/j.1467-9469.2010.00723.x
"""

from __future__ import annotations

__all__ = ["run_pilot"]

import math

import torch
from torch import Tensor

from ..errors import NonFiniteError
from ..seeding import derive_seed
from .bridge import Bridge
from .resampling import systematic
from .schedule import Knots
from .transition import DENSE, State, Transition, start_at

_KEPT = 0.5  # rho
_MOST_KNOTS = 400
_ROUNDS, _MOVES = 2, 6  # at each knot: after each round, coordinates are those of what its moves have seen
_TARGET = 0.8  # acceptance that step sizes are adapted to
_TURN = 0.5 * math.pi  # of a trajectory at most: a quarter turn in coordinates in which a normal is round
_NEVER = -1e29  # gains below are of no density
_FINE = 60  # halvings of an interval of inverse temperatures


def run_pilot(bridge: Bridge, transition: Transition, count: int, seed: int) -> Knots:
    """Follow `count` particles from the beginning of the path to its end.

    Raises:
        NonFiniteError: if no particle has a likelihood at some temperature.
    """
    state = start_at(bridge, bridge.draw(count, seed, "pilot"))
    generator = torch.Generator(bridge.device).manual_seed(derive_seed(seed, "annealing", "pilot moves"))
    beta, size = 0.0, _TURN / transition.leapfrogs
    covariance = _covariance(state[0], None, bridge.dim <= DENSE)
    betas, factors, sizes = [], [], []
    while True:
        for _ in range(_ROUNDS):
            factor = _factor(covariance)
            state, size, seen = _moved(transition, state, factor, beta, size, generator)
            covariance = _covariance(seen, covariance, bridge.dim <= DENSE)
        betas.append(beta)
        factors.append(factor)
        sizes.append(size)
        if beta >= 1.0:
            break
        if not bool((state[2] > _NEVER).any()):
            raise NonFiniteError(
                f"No particle of {count} has a likelihood: of draws from the prior, none could have made these data. "
                f"Look at the model with `jensen.inference.doctor`, or begin at a fit (`base=`)."
            )
        rise = _next(state[2], 1.0 - beta) if len(betas) < _MOST_KNOTS else 1.0 - beta
        beta = 1.0 if rise >= 1.0 - beta else beta + rise
        chosen = systematic(rise * state[2], generator)
        state = tuple(part[chosen] for part in state)
        covariance = _covariance(state[0], covariance, bridge.dim <= DENSE)
    like = state[0]
    return Knots(like.new_tensor(betas), torch.stack(factors), like.new_tensor(sizes))


def _next(gain: Tensor, most: float) -> float:
    """How far the inverse temperature may rise, at most `most`."""
    gain = gain - gain.max()

    def kept(rise: float) -> float:
        weights = (rise * gain).exp()
        return float(weights.sum().square() / weights.square().sum()) / len(gain)

    if kept(most) >= _KEPT or kept(0.0) < _KEPT:
        return most
    low, high = math.log(most) - 80.0, math.log(most)
    if kept(math.exp(low)) < _KEPT:  # half of the particles have no density
        return math.exp(low)
    for _ in range(_FINE):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if kept(math.exp(middle)) >= _KEPT else (low, middle)
    return math.exp(low)


def _moved(
    transition: Transition, state: State, factor: Tensor, beta: float, size: float, generator: torch.Generator
) -> tuple[State, float, Tensor]:
    """The particles after a few moves, a step size of the acceptance that is aimed at, and where the last moves led."""
    u, seen = state[0], []
    place = u.new_tensor([[beta, 0.0, 0.0]])
    for number in range(_MOVES):
        momentum = torch.randn(1, *u.shape, generator=generator, dtype=u.dtype, device=u.device)
        chance = torch.rand(1, len(u), generator=generator, dtype=u.dtype, device=u.device).log()
        sizes = torch.full((1, len(u), 1), size, dtype=u.dtype, device=u.device)
        state, rates = transition(state, factor, [momentum, chance, sizes, place])
        size *= math.exp((float(rates[0]) - _TARGET) * 2.0 / (1.0 + 0.5 * number))
        size = min(max(size, 1e-8), _TURN / transition.leapfrogs)
        if number >= _MOVES // 2:
            seen.append(state[0])
    return state, size, torch.cat(seen)


def _covariance(u: Tensor, before: Tensor | None, dense: bool) -> Tensor:
    """Of particles ``(K, D)``, shrunk towards that of the knot before: ``(D, D)``, or variances ``(D,)``."""
    centred = u - u.mean(0)
    total = centred.mT @ centred if dense else centred.square().sum(0)
    count, prior = len(u) - 1, u.shape[-1] + 5
    if before is None:
        spread = (centred.square().sum(0) / count).clamp(min=1e-12)
        before = spread.diag() if dense else spread
    return (total + prior * before) / (count + prior)


def _factor(covariance: Tensor) -> Tensor:
    if covariance.dim() == 1:
        return covariance.sqrt()
    root, failed = torch.linalg.cholesky_ex(covariance)
    return covariance.diagonal().sqrt().diag() if bool(failed) else root
