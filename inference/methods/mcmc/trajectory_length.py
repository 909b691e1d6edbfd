r"""How long the trajectories of many chains are: adapted so that the next draws are far from the present ones.

.. math:: \mathrm{ChEES} = \tfrac14\, \mathbb E\big[ (\|v' - \mathbb E v'\|^2 - \|v - \mathbb E v\|^2)^2 \big]

(the change in the estimator of the expected square), whose derivative by the log length :math:`\log \tau` is, of the
trajectories of one transition, all of time t,

.. math:: \hat g = \frac{\sum_c \alpha_c\, t\, (\|v'_c - \bar v'\|^2 - \|v_c - \bar v\|^2)\, (v'_c - \bar v')^\top p'_c}
   {\sum_c \alpha_c}

with :math:`\alpha_c` their acceptance. Adam climbs it; each transition takes the part :math:`h_i` of the length, the
i-th number of the Halton sequence in base two.

References: Hoffman, Radul and Sountsov (2021), An adaptive MCMC scheme for setting trajectory lengths in Hamiltonian
Monte Carlo, https://proceedings.mlr.press/v130/hoffman21a.html
"""

from __future__ import annotations

__all__ = ["TrajectoryLength", "criterion_gradient", "halton"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_RATE, _DECAY = 0.025, 0.95  # Adam's, without momentum
_WEIGHT = 0.5  # the average of log lengths has weights t^-0.5
_LEAST = 1e-300


@dataclass(frozen=True)
class TrajectoryLength:
    """The state of Adam.

    Attributes:
        latest: log of the length for the next transition.
        average: log of the length for after the warm-up.
        count: transitions seen.
        square: running mean of squared gradients.
    """

    latest: float
    average: float
    count: int = 0
    square: float = 0.0

    @classmethod
    def start(cls, length: float) -> TrajectoryLength:
        return cls(math.log(length), math.log(length))

    def update(self, gradient: float, most: float) -> TrajectoryLength:
        """After a transition with this gradient, up to this length; one without a number changes nothing."""
        count = self.count + 1
        if not math.isfinite(gradient * gradient):
            gradient = 0.0
        square = _DECAY * self.square + (1.0 - _DECAY) * gradient**2
        root = math.sqrt(square / (1.0 - _DECAY**count))
        moved = self.latest + _RATE * gradient / max(root, _LEAST)
        latest = min(moved, math.log(most))
        weight = count**-_WEIGHT
        return TrajectoryLength(latest, weight * latest + (1.0 - weight) * self.average, count, square)


def criterion_gradient(v: Tensor, ended: Tensor, momentum: Tensor, acceptance: Tensor, time: float) -> Tensor:
    """The derivative of the criterion by the log of the length, a scalar.

    Args:
        v: where the trajectories began, ``(C, D)``.
        ended: where they ended, ``(C, D)``.
        momentum: there, ``(C, D)``.
        acceptance: of each, ``(C,)``; those with none do not count, whatever their ends are.
        time: that they took.
    """
    counts = (acceptance > 0.0).unsqueeze(-1)
    ended, momentum = torch.where(counts, ended, v), torch.where(counts, momentum, 0.0)
    total = acceptance.sum().clamp(min=torch.finfo(v.dtype).tiny)
    now = ended - (acceptance @ ended) / total
    before = v - v.mean(0)
    gain = (now.square().sum(-1) - before.square().sum(-1)) * (now * momentum).sum(-1)
    return time * (acceptance @ gain) / total


def halton(index: int) -> float:
    """The number of this index, 1 or more, of the Halton sequence in base two, in (0, 1).

    >>> [halton(i) for i in (1, 2, 3, 4)]
    [0.5, 0.25, 0.75, 0.125]
    """
    found, digit = 0.0, 0.5
    while index:
        found += digit * (index & 1)
        index, digit = index >> 1, digit / 2
    return found
