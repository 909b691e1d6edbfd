"""The verdict on simulated histories: rest is seen, and nothing that moves is taken for it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from jensen.inference.run.convergence import CONVERGED, NOT_CONVERGED, UNKNOWN, drift, judge, verdict_of_rows

ROWS, TRACES = 100, 1_000
DONE = np.arange(ROWS) / ROWS

# Each moves by at least the tolerance of 1 over its last half.
MOVING: dict[str, np.ndarray] = {
    "linear": 2.2 * DONE,
    "exponential": -6.0 * np.exp(-DONE),
    "logarithmic": 1.6 * np.log1p(np.arange(ROWS)),
    "root": 3.6 * np.sqrt(DONE),
}


def _noise(rng: np.random.Generator, correlation: float, size: float, count: int = ROWS) -> np.ndarray:
    """A stationary autoregression ``(count,)``."""
    shocks = rng.normal(size=count) * size * np.sqrt(1 - correlation**2)
    out = np.empty(count)
    out[0] = size * rng.normal()
    for i in range(1, count):
        out[i] = correlation * out[i - 1] + shocks[i]
    return out


@pytest.mark.parametrize("size", [0.1, 1.0])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("kind", MOVING)
def test_what_moves_is_never_called_converged(kind: str, correlation: float, size: float) -> None:
    rng = np.random.default_rng(0)
    series = [MOVING[kind] + _noise(rng, correlation, size) for _ in range(TRACES)]
    called = sum(judge(one[:, None], 1.0)[0] == CONVERGED for one in series)
    assert called <= 0.01 * TRACES


@pytest.mark.parametrize("kind", MOVING)
def test_fast_movement_is_seen(kind: str) -> None:
    rng = np.random.default_rng(1)
    found = [judge((3.0 * MOVING[kind] + _noise(rng, 0.3, 0.3))[:, None], 1.0)[0] for _ in range(200)]
    assert found.count(NOT_CONVERGED) >= 195


@pytest.mark.parametrize(("correlation", "size"), [(0.0, 0.3), (0.4, 0.2), (0.5, 0.1)])
def test_rest_is_seen_within_a_hundred_rows(correlation: float, size: float) -> None:
    rng = np.random.default_rng(2)
    found = [judge(_noise(rng, correlation, size)[:, None], 1.0)[0] for _ in range(TRACES)]
    assert found.count(CONVERGED) >= 0.95 * TRACES
    assert found.count(NOT_CONVERGED) <= 0.01 * TRACES


def test_rest_is_seen_after_a_start_that_moved() -> None:
    rng = np.random.default_rng(3)
    series = np.concatenate([np.linspace(-1e6, 0.0, 100), np.zeros(100)]) + _noise(rng, 0.3, 0.2, 200)
    assert judge(series[:, None], 1.0)[0] == CONVERGED


@pytest.mark.parametrize("columns", [1, 50])
def test_one_of_many_that_moves_is_named(columns: int) -> None:
    rng = np.random.default_rng(4)
    series = np.stack([_noise(rng, 0.3, 0.1) for _ in range(columns)], -1)
    assert judge(series, 1.0)[0] == CONVERGED
    series[:, columns // 2] += 6.0 * DONE
    status, which, rise, _ = judge(series, 1.0)
    assert (status, which) == (NOT_CONVERGED, columns // 2)
    assert rise == pytest.approx(3.0, abs=0.3)


def test_the_rise_and_its_error_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(5)
    found = np.array([drift((4.0 * DONE + _noise(rng, 0.0, 0.5))[:, None]) for _ in range(2_000)])[..., 0]
    assert found[:, 0].mean() == pytest.approx(2.0, abs=4 * found[:, 0].std() / 2_000**0.5)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.25)  # on the safe side, for short series


def test_what_does_not_move_at_all_is_at_rest_and_what_is_short_is_unknown() -> None:
    assert judge(np.full((40, 2), 3.0), 1e-9)[0] == CONVERGED
    assert judge(np.zeros((12, 1)), 1.0)[0] == UNKNOWN


def _rows(values: np.ndarray, name: str = "bound") -> list[dict[str, float]]:
    return [{"step": float(i), name: float(value)} for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("make", "status", "words"),
    [
        (lambda: _rows(np.zeros(8)), UNKNOWN, "has 8 rows"),
        (lambda: _rows(-1e3 + 50.0 * DONE), NOT_CONVERGED, r"the bound moved by 25 \+- .* nats"),
        (lambda: _rows(-1e3 + _noise(np.random.default_rng(6), 0.3, 0.1)), CONVERGED, "tolerance 0.5"),
        (lambda: _rows(10.0 - DONE, "loss"), NOT_CONVERGED, "the loss moved by -0.5"),
    ],
)
def test_verdicts_say_the_test_and_its_number(
    make: Callable[[], list[dict[str, float]]], status: str, words: str
) -> None:
    verdict = verdict_of_rows(make(), data_size=100)
    assert verdict.status == status
    assert re.search(words, verdict.reason)
    assert bool(verdict.advice) == (status != CONVERGED)
