r"""Warm-up: a step size by dual averaging, and the windows in which the metric is learned.

.. math:: \log \epsilon_{t+1} = \mu - \frac{\sqrt t}{\gamma} \bar H_t, \qquad
   \bar H_t = \Big(1 - \frac{1}{t + t_0}\Big) \bar H_{t-1} + \frac{\delta - \alpha_t}{t + t_0}

with :math:`\alpha_t` the acceptance of transition t, :math:`\delta` its target; what is used after the warm-up is the
average of :math:`\log \epsilon_t` with weights :math:`t^{-0.75}`.

References: Hoffman and Gelman (2014), The No-U-Turn Sampler, https://jmlr.org/papers/v15/hoffman14a.html
Stan Reference Manual, section "Automatic parameter tuning", https://mc-stan.org/docs/reference-manual/mcmc.html
"""

from __future__ import annotations

__all__ = ["StepSize", "windows"]

import math
from dataclasses import dataclass

_GAMMA, _OFFSET, _DECAY = 0.05, 10.0, 0.75
_FIRST, _LAST, _WINDOW = 75, 50, 25  # transitions, of a warm-up of 150 or more


@dataclass(frozen=True)
class StepSize:
    """The state of dual averaging.

    Attributes:
        anchor: mu, a log step size that the first ones are drawn to.
        count: transitions seen.
        error: H-bar.
        latest: log of the step size for the next transition.
        average: log of the step size for after the warm-up.
    """

    anchor: float
    count: int = 0
    error: float = 0.0
    latest: float = 0.0
    average: float = 0.0

    @classmethod
    def start(cls, step_size: float) -> StepSize:
        """Begin at a step size, and look at ten times as much."""
        return cls(math.log(10.0 * step_size), latest=math.log(step_size), average=math.log(step_size))

    def update(self, acceptance: float, target: float) -> StepSize:
        """After a transition of this acceptance."""
        count = self.count + 1
        rate = 1.0 / (count + _OFFSET)
        error = (1.0 - rate) * self.error + rate * (target - acceptance)
        latest = self.anchor - math.sqrt(count) / _GAMMA * error
        weight = count**-_DECAY
        return StepSize(self.anchor, count, error, latest, weight * latest + (1.0 - weight) * self.average)


def windows(warmup: int) -> list[tuple[int, int]]:
    """The windows ``[from, to)`` of a warm-up, after each of which the metric is that of its draws.

    They begin after an eighth of it at most, are each twice as long as the one before, and leave a last part for the
    step size alone.
    """
    if warmup < 20:
        return []
    scale = min(1.0, warmup / (_FIRST + _LAST + _WINDOW))
    begin, end, length = int(scale * _FIRST), warmup - int(scale * _LAST), max(int(scale * _WINDOW), 1)
    found = []
    while begin < end:
        length = length if begin + 3 * length <= end else end - begin  # the last one takes what the next would lack
        found.append((begin, begin + length))
        begin, length = begin + length, 2 * length
    return found
