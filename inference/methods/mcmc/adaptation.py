r"""Warm-up: a step size by dual averaging, and the windows in which the metric is learned.

.. math:: \log \epsilon_{t+1} = \mu - \frac{\sqrt t}{\gamma} \bar H_t, \qquad
   \bar H_t = \Big(1 - \frac{1}{t + t_0}\Big) \bar H_{t-1} + \frac{\delta - \alpha_t}{t + t_0}

with :math:`\alpha_t` the acceptance of transition t, :math:`\delta` its target; what is used after the warm-up is the
average of :math:`\log \epsilon_t` with weights :math:`t^{-0.75}`.

References: Hoffman and Gelman (2014), The No-U-Turn Sampler, https://jmlr.org/papers/v15/hoffman14a.html
Stan Reference Manual, section "Automatic parameter tuning", https://mc-stan.org/docs/reference-manual/mcmc.html
"""

from __future__ import annotations

__all__ = ["StepSize", "WarmUp", "windows"]

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

    @property
    def present(self) -> float:
        """The best step size so far."""
        return math.exp(self.average if self.count else self.latest)

    def update(self, acceptance: float, target: float) -> StepSize:
        """After a transition of this acceptance."""
        count = self.count + 1
        rate = 1.0 / (count + _OFFSET)
        error = (1.0 - rate) * self.error + rate * (target - acceptance)
        latest = self.anchor - math.sqrt(count) / _GAMMA * error
        weight = count**-_DECAY
        return StepSize(self.anchor, count, error, latest, weight * latest + (1.0 - weight) * self.average)


@dataclass(frozen=True)
class WarmUp:
    """When chains stop to adapt, to forget or to report, in transitions from the start.

    Attributes:
        length: of the warm-up.
        windows: after each the metric is that of its draws.
        log_every: transitions between rows of the history.
    """

    length: int
    windows: list[tuple[int, int]]
    log_every: int

    def stretch(self, step: int, most: int) -> int:
        """How many transitions, at most `most`, there are from `step` to where a window, the warm-up or a row ends."""
        ends = [end for window in self.windows for end in window] + [self.length]
        ends.append(step - step % self.log_every + self.log_every)
        return min(most, *(end - step for end in ends if end > step))

    def adapts(self, step: int) -> bool:
        """Whether a window ends."""
        return any(step == end for _, end in self.windows)

    def forgets(self, step: int) -> bool:
        """Whether a window or the draws that are kept begin."""
        return step == self.length or any(step in window for window in self.windows)


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
