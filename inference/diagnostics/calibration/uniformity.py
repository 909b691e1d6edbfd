r"""Whether ranks are uniform: an envelope around their empirical distribution that holds all of it at once.

Reference: T. Säilynoja, P.-C. Bürkner and A. Vehtari, *Graphical test for discrete uniformity and its applications in
goodness-of-fit evaluation and multiple sample comparison*, 2022, https://arxiv.org/abs/2103.10522
"""

from __future__ import annotations

__all__ = ["Envelope"]

import numpy as np

_MOST_POINTS = 100
_PRECISE = 1e-9  # below it a probability is what rounding left of a difference
_ROUNDING = 1e-9  # relative: of two tails that are equal by symmetry


class Envelope:
    r"""The distribution of the empirical distribution function of `size` independent ranks, uniform on ``0 … L``.

    At each point `j` of a grid the number of ranks below `j` is binomial, with chance :math:`j / (L + 1)`. The
    statistic is the least of their two-sided tail probabilities,

    .. math:: T = \min_j\, 2 \min\{P(B_j \le n_j),\; P(B_j \ge n_j)\},\qquad B_j \sim \mathrm{Bin}(S, j / (L + 1))

    whose distribution is exact: counts between one point and the next are multinomial, that is independent Poisson
    numbers given their sum, so that the chance of staying inside bands is a chain of convolutions.

    Args:
        size: `S`, how many ranks.
        num_draws: `L`, how many draws each of them is among.

    Attributes:
        points: ``(K,)`` whole numbers `j` between 1 and `L`, at most 100, evenly spaced.
    """

    def __init__(self, size: int, num_draws: int) -> None:
        from scipy.stats import binom, poisson

        self.size, self.num_draws = size, num_draws
        count = min(num_draws, _MOST_POINTS)
        self.points = np.unique(np.linspace(1, num_draws, count).round().astype(int))
        chance = self.points[:, None] / (num_draws + 1)
        numbers = np.arange(size + 1)
        below, above = binom.cdf(numbers, size, chance), binom.sf(numbers - 1, size, chance)
        self._tails = np.minimum(1.0, 2.0 * np.minimum(below, above))
        steps = np.diff(self.points, prepend=0, append=num_draws + 1) / (num_draws + 1)
        self._arrivals = [poisson.pmf(numbers, size * step) for step in steps]
        self._whole = float(poisson.pmf(size, size))

    def counts(self, ranks: np.ndarray) -> np.ndarray:
        """How many of the `ranks` ``(S,)`` are below each point, ``(K,)``."""
        return np.searchsorted(np.sort(ranks), self.points, side="left")

    def statistic(self, ranks: np.ndarray) -> float:
        """`T` of these ranks: the smaller, the less uniform."""
        return float(self._tails[np.arange(len(self.points)), self.counts(ranks)].min())

    def p_value(self, statistic: float) -> float:
        """The chance that uniform ranks have a `T` as small as this, exactly."""
        if statistic >= 1.0:
            return 1.0
        found = 1.0 - self._inside(statistic)
        bound = min(1.0, len(self.points) * statistic)  # over all points
        return float(min(found, bound)) if found > _PRECISE else float(bound)

    def band(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest counts below each point, ``(K,)`` each, of an envelope that holds all of them with
        a chance of at least `level` (by the least that whole numbers allow)."""
        values = np.unique(self._tails[self._tails <= 1.0 - level])  # `T` as large as its threshold, or smaller
        least, most = 0, len(values)  # how many of the values leave the band
        while least < most:
            middle = (least + most + 1) // 2
            least, most = (middle, most) if self.p_value(values[middle - 1]) <= 1.0 - level else (least, middle - 1)
        return self._limits(values[least - 1] if least else -1.0)

    def coverage(self, lower: np.ndarray, upper: np.ndarray) -> float:
        """The chance that all counts of uniform ranks are from `lower` to `upper`, exactly."""
        inside = np.ones(1)  # chances of the counts so far, all inside, beginning at count `first`
        first = 0
        for low, high, arrivals in zip(lower, upper, self._arrivals[:-1], strict=True):
            if low > high:
                return 0.0
            spread = np.convolve(inside, arrivals[: high - first + 1])
            inside, first = spread[low - first : high - first + 1], int(low)
        left = self._arrivals[-1][self.size - first - np.arange(len(inside))]
        return float(inside @ left / self._whole)

    def _inside(self, statistic: float) -> float:
        lower, upper = self._limits(statistic)
        return self.coverage(lower, upper)

    def _limits(self, statistic: float) -> tuple[np.ndarray, np.ndarray]:
        """The counts whose tails are all larger than `statistic`."""
        good = self._tails > statistic * (1.0 + _ROUNDING)  # a tail may be too small for a number: zero
        return good.argmax(1), self.size - good[:, ::-1].argmax(1)
