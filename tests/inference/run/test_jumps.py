"""Intervals that threw a fit away, and what only looks like it."""

from __future__ import annotations

import numpy as np
import pytest

from jensen.inference.run.jumps import Jumps


def _started(rng: np.random.Generator, noise: float, rows: int = 12, rise: float = 50.0) -> Jumps:
    jumps = Jumps()
    for row in range(rows):
        level = -1_000.0 + rise * (1.0 - np.exp(-row / 2.0))
        values = level + noise * rng.normal(size=100)
        assert jumps.fall(values) == 0.0
        jumps.add(values)
    return jumps


@pytest.mark.parametrize("noise", [0.0, 0.1, 3.0])
def test_a_fall_that_stays_is_a_jump(noise: float) -> None:
    rng = np.random.default_rng(0)
    jumps = _started(rng, noise)
    values = np.where(np.arange(100) < 30, -950.0, -1_400.0) + noise * rng.normal(size=100)
    assert jumps.fall(values) == pytest.approx(450.0, rel=0.05)


def test_a_few_steps_far_off_are_none() -> None:
    rng = np.random.default_rng(1)
    jumps = _started(rng, 1.0)
    values = -950.0 + rng.normal(size=100)
    values[[60, 75, 90]] = -1e9
    assert jumps.fall(values) == 0.0


def test_noise_is_none_of_whatever_tails() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        jumps = Jumps()
        for _ in range(40):
            values = rng.standard_t(1.5, size=100) * 10.0
            assert jumps.fall(values) == 0.0
            jumps.add(values)


def test_a_fall_within_what_rows_move_is_none() -> None:
    jumps = Jumps()
    for row in range(20):  # batches that come in another order: every row another level
        values = np.full(50, -1_000.0 + 100.0 * (row % 3))
        assert jumps.fall(values) == 0.0
        jumps.add(values)


def test_the_first_rows_and_short_ones_tell_nothing() -> None:
    jumps = Jumps()
    jumps.add(np.zeros(100))
    assert jumps.fall(np.full(100, -1e6)) == 0.0
    full = _started(np.random.default_rng(3), 1.0)
    assert full.fall(np.full(10, -1e6)) == 0.0


def test_a_stored_state_goes_on_the_same() -> None:
    jumps = _started(np.random.default_rng(4), 1.0)
    again = Jumps()
    again.read(jumps.stored())
    assert again == jumps
