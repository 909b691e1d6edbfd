r"""Inverse temperatures :math:`0 = \beta_0 < \dots < \beta_T = 1`, and what each move is made with: all of it frozen.

=================  ===============================================================================
``"adaptive"``     as many temperatures between any two knots of the pilot, which are equally far apart
                   in the variance of their weights
``"geometric"``    :math:`\log \beta_t` in equal steps, from a first one as far from 0 as the adaptive one is
``"sigmoidal"``    :math:`\sigma(\delta (2 t / T - 1))` with :math:`\delta = 4`, scaled to [0, 1]
=================  ===============================================================================

Reference: Wu, Burda, Salakhutdinov and Grosse (2017), On the quantitative analysis of decoder-based generative models,
https://arxiv.org/abs/1611.04273
"""

from __future__ import annotations

__all__ = ["SCHEDULES", "Knots", "Plan", "make_plan"]

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SCHEDULES = ("adaptive", "geometric", "sigmoidal")

_STEEPNESS = 4.0


@dataclass(frozen=True)
class Knots:
    """What a pilot run learned, at J + 1 inverse temperatures.

    Attributes:
        betas: ``(J + 1,)``, from 0 to 1.
        factors: ``(J + 1, D, D)``, Cholesky factors of the particles' covariances, or their diagonals, ``(J + 1, D)``.
        sizes: ``(J + 1,)``, of leapfrog steps in these coordinates.
    """

    betas: Tensor
    factors: Tensor
    sizes: Tensor

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"betas": self.betas, "factors": self.factors, "sizes": self.sizes}


@dataclass(frozen=True)
class Plan:
    """The temperatures of a run.

    Attributes:
        betas: ``(T + 1,)``.
        sizes: ``(T,)``, of the leapfrog steps at each but the first.
        metrics: for each of these, the knot whose factor it has, ``(T,)``.
        factors: those of the knots.
    """

    betas: Tensor
    sizes: Tensor
    metrics: list[int]
    factors: Tensor


def make_plan(knots: Knots, steps: int, schedule: str) -> Plan:
    """`steps` temperatures after the first, by the name of a schedule."""
    known = knots.betas.cpu().double().numpy()
    along = np.arange(steps + 1) / steps
    if schedule == "adaptive":
        betas = _between(known, along * (len(known) - 1))
    elif schedule == "geometric":
        first = known[1] / max(steps / (len(known) - 1), 1.0)
        betas = first ** (1.0 - (along * steps - 1.0) / max(steps - 1, 1))
    else:
        betas = 1.0 / (1.0 + np.exp(-_STEEPNESS * (2.0 * along - 1.0)))
        betas = (betas - betas[0]) / (betas[-1] - betas[0])
    betas[0], betas[-1] = 0.0, 1.0
    places = _place(known, betas[1:])
    log_sizes = np.log(knots.sizes.cpu().double().numpy())
    sizes = np.exp(np.interp(places, np.arange(len(known)), log_sizes))
    to = knots.betas
    return Plan(
        torch.from_numpy(betas).to(to),
        torch.from_numpy(sizes).to(to),
        np.rint(places).astype(int).tolist(),
        knots.factors,
    )


def _between(known: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Inverse temperatures at places among the knots: in equal steps up to the first, in equal ratios beyond it."""
    index = np.clip(np.floor(places).astype(int), 0, len(known) - 2)
    part, low, high = places - index, known[index], known[index + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = low * (high / low) ** part
    return np.where(index == 0, part * high, ratio)


def _place(known: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """The inverse of :func:`_between`."""
    index = np.clip(np.searchsorted(known, betas, side="right") - 1, 0, len(known) - 2)
    low, high = known[index], known[index + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.log(betas / low) / np.log(high / low)
    return np.clip(np.where(index == 0, betas / high, index + part), 0.0, len(known) - 1.0)
