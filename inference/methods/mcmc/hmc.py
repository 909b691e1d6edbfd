"""`HMC`: Hamiltonian Monte Carlo with trajectories of a given length, jittered."""

from __future__ import annotations

__all__ = ["HMC", "fixed_transition"]

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ...data.base import MemoryData
from ...errors import ConfigurationError
from ...options import check_fraction, check_positive, check_whole
from ...pair.function_program import own_copy
from ..base import Method
from .options import ChainOptions
from .sampler import Sampler
from .tree import DIVERGENCE, Ask, Place, Transition


@dataclass(frozen=True)
class HMC(ChainOptions, Method):
    r"""Draws from the posterior of global latents by Hamiltonian dynamics over a given time.

    As :class:`jensen.inference.NUTS` in density, starts, coordinates and warm-up, but a trajectory is of a given
    length, and its end is the next draw with probability

    .. math:: \min\{1, \exp(H(v, p) - H(v', p'))\}, \qquad H(v, p) = -\log \pi(v) + \tfrac12 p^\top p

    In coordinates where the posterior is standard normal, a length of :math:`\pi / 2` makes the end independent of the
    start. Where it is not, a length that suits all directions is hard to say: `NUTS` finds one at every draw, and
    :class:`jensen.inference.ChEES` learns one for many chains.

    Args:
        steps, num_warmup, num_chains, target_acceptance, metric, compile: as in `NUTS`.
        trajectory_length: time of a trajectory, in posterior standard deviations; the number of leapfrog steps is that
            over the step size, rounded up.
        num_leapfrogs: leapfrog steps of a trajectory, instead of `trajectory_length`.
        jitter: each trajectory's length is drawn uniformly from ``(1 - jitter, 1 + jitter)`` times this: trajectories
            of one length can come back to where they began.
        max_leapfrogs: the most leapfrog steps of a trajectory.
        device, dtype, checkpoint_every, log_every, progress: as in `NUTS`.

    Raises:
        ModelError: the model has latents of each datum, masked ones, or none or more than 500 numbers.
        NonFiniteError: the density has no value at any start.

    References: Duane, Kennedy, Pendleton and Roweth (1987), Hybrid Monte Carlo,
    https://doi.org/10.1016/0370-2693(87)91197-X
    Neal (2011), MCMC using Hamiltonian dynamics, https://arxiv.org/abs/1206.1901

    Example:
        >>> from jensen.models import BayesianLogisticRegression
        >>> x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        >>> data = {"x": x, "y": (x[:, 0] > 0).float()}
        >>> fit = HMC(steps=50, num_warmup=50, num_chains=2, progress=False).fit(BayesianLogisticRegression(2), data)
        >>> fit.posterior(100)["w"].shape
        torch.Size([100, 2])
    """

    trajectory_length: float | None = None
    num_leapfrogs: int | None = None
    jitter: float = 0.5
    max_leapfrogs: int = 1_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("max_leapfrogs", self.max_leapfrogs)
        check_fraction("jitter", self.jitter, "a part of the trajectory's length", ", such as 0.5")
        if self.num_leapfrogs is not None:
            check_whole("num_leapfrogs", self.num_leapfrogs)
            if self.trajectory_length is not None:
                raise ConfigurationError("Give `trajectory_length` or `num_leapfrogs`, not both.")
        if self.trajectory_length is not None:
            check_positive("trajectory_length", self.trajectory_length)

    def check_model(self, model: Any) -> None:
        """Any program can be tried: its latents are looked at."""

    def begin(self, model: Any, train: MemoryData, validation: dict[str, torch.Tensor] | None, seed: int) -> Sampler:
        own = own_copy(model, torch.get_default_device(), torch.get_default_dtype())
        kernel = partial(
            fixed_transition,
            length=math.pi / 2 if self.trajectory_length is None else self.trajectory_length,
            leapfrogs=self.num_leapfrogs,
            jitter=self.jitter,
            most=self.max_leapfrogs,
        )
        return Sampler(self, own, train, seed, kernel, trees=False)


def fixed_transition(
    start: Place,
    step_size: float,
    rng: np.random.Generator,
    length: float,
    leapfrogs: int | None = None,
    jitter: float = 0.5,
    most: int = 1_000,
) -> Ask[Transition]:
    """Draw the next state of a chain at `start`: the end of a trajectory, or `start` again.

    Args:
        start: the present state.
        step_size: of the leapfrog steps.
        rng: of the momentum, the length and the choice.
        length: of the trajectory, in time.
        leapfrogs: steps of it; None goes by `length`.
        jitter: how far its length varies, as a part of it.
        most: the most leapfrog steps.
    """
    p = rng.standard_normal(len(start.v))
    factor = 1.0 + jitter * (2.0 * rng.random() - 1.0)
    wanted = leapfrogs * factor + 0.5 if leapfrogs is not None else math.ceil(min(length * factor / step_size, most))
    count = min(max(int(wanted), 1), most)
    origin = start.value - 0.5 * float(p @ p)
    v, value, gradient, momentum = start.v, start.value, start.gradient, p
    change, made, diverged = 0.0, 0, False
    for made in range(1, count + 1):
        middle = momentum + 0.5 * step_size * gradient
        v = v + step_size * middle
        value, gradient = yield v
        momentum = middle + 0.5 * step_size * gradient
        change = value - 0.5 * float(momentum @ momentum) - origin
        diverged = diverged or not change > -DIVERGENCE  # also where there is no number
        if not math.isfinite(change):  # no way back from there
            return Transition(start, 0.0, -origin, made, 0, True)
    acceptance = math.exp(min(change, 0.0))
    place = Place(v, value, gradient) if rng.random() < acceptance else start
    return Transition(place, acceptance, -origin, made, 0, diverged)
