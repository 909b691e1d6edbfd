"""The envelope of ranks: its chance is exact, against enumeration, a simulation and the binomial distribution."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from jensen.inference.diagnostics.calibration.reading import holm
from jensen.inference.diagnostics.calibration.uniformity import Envelope


def test_p_values_are_those_of_all_outcomes_counted() -> None:
    """Five ranks on 0 … 3: each of the 1,024 outcomes is as likely as any other."""
    envelope = Envelope(5, 3)
    outcomes = itertools.product(range(4), repeat=5)
    found = Counter(round(envelope.statistic(np.array(ranks)), 12) for ranks in outcomes)
    assert len(found) > 5
    for statistic in found:
        exact = sum(count for other, count in found.items() if other <= statistic) / 4**5
        assert envelope.p_value(statistic) == pytest.approx(exact, rel=1e-9)


def test_of_one_point_the_statistic_is_a_binomial_test() -> None:
    from scipy.stats import binomtest

    envelope = Envelope(40, 1)
    for ones in (20, 13, 31, 40):
        ranks = np.repeat([0, 1], [40 - ones, ones])
        assert envelope.p_value(envelope.statistic(ranks)) == pytest.approx(binomtest(ones, 40).pvalue, rel=1e-6)


@pytest.mark.parametrize(("size", "num_draws"), [(20, 19), (100, 99), (250, 1_000)])
def test_the_band_holds_uniform_ranks_as_often_as_it_says(size: int, num_draws: int) -> None:
    envelope, tries = Envelope(size, num_draws), 3_000
    lower, upper = envelope.band(0.95)
    chance = envelope.coverage(lower, upper)
    assert 0.95 <= chance < 0.96
    generator = np.random.default_rng(0)
    counts = np.stack([envelope.counts(generator.integers(0, num_draws + 1, size)) for _ in range(tries)])
    inside = ((counts >= lower) & (counts <= upper)).all(1).mean()
    assert abs(inside - chance) < 4 * math.sqrt(chance * (1 - chance) / tries)


def test_ranks_leave_the_band_where_their_p_value_is_below_its_level() -> None:
    envelope = Envelope(60, 20)
    lower, upper = envelope.band(0.9)
    generator, seen = np.random.default_rng(1), Counter[bool]()
    for tilt in np.linspace(1.0, 1.8, 200):
        ranks = np.floor(generator.random(60) ** tilt * 21).astype(int)
        counts = envelope.counts(ranks)
        outside = bool(((counts < lower) | (counts > upper)).any())
        assert outside == (envelope.p_value(envelope.statistic(ranks)) <= 0.1)
        seen[outside] += 1
    assert min(seen.values()) > 20


def test_p_values_too_small_for_a_difference_keep_falling() -> None:
    envelope = Envelope(400, 99)
    ranks = np.sort(np.random.default_rng(0).integers(0, 100, 400))
    p_values = [envelope.p_value(envelope.statistic(np.minimum(ranks, 99 - shift))) for shift in (20, 40, 60, 80)]
    assert all(0 <= small < large for large, small in itertools.pairwise(p_values))
    assert p_values[-1] < 1e-30


def test_adjusted_p_values_are_holms() -> None:
    assert holm(np.array([0.04, 0.01, 0.03, 0.9])) == pytest.approx([0.09, 0.04, 0.09, 0.9])
