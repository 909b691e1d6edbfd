"""The rule of fits that have only their bound, on simulated bounds: rest is seen, and no rise is taken for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from jensen.inference.run.convergence import CONVERGED, NOT_CONVERGED, UNKNOWN
from jensen.inference.run.held_out import HeldOut
from jensen.inference.run.plateau import LOWER, MOST, ON, RATE, STOP, Plateau, tolerance_of

TRACES, MOST_POINTS, ROW = 100, 400, 4  # points to a row: 25 steps each
Level = Callable[[float], float]

RISING: dict[str, Level] = {  # by more than the tolerance of 1 over the last half of any run of 80 points or more
    "linear": lambda u: 0.04 * u,
    "exponential": lambda u: -400.0 * np.exp(-u / 200.0),
    "logarithmic": lambda u: 2.0 * np.log1p(u),
    "root": lambda u: 0.6 * np.sqrt(u),
}


def _noise(seed: int, correlation: float, size: float, traces: int = TRACES) -> np.ndarray:
    """Stationary autoregressions, ``(traces, MOST_POINTS)``."""
    out = size * np.random.default_rng(seed).normal(size=(MOST_POINTS, traces))
    for i in range(1, MOST_POINTS):
        out[i] = correlation * out[i - 1] + np.sqrt(1 - correlation**2) * out[i]
    return out.T


def _simulated(level: Level, noise: np.ndarray, deficit: float = 0.0) -> tuple[Plateau, float, bool]:
    """A fit whose level is a function of the way it has gone, and that stays below it by `deficit` times the rate."""
    plateau = Plateau(1.0, enough=200, patience=100)
    way, rate, below = 0.0, 1.0, deficit
    for row in noise.reshape(-1, ROW):
        values = []
        for shock in row:
            way, below = way + rate, below + 0.2 * (deficit * rate - below)
            values.append(level(way) - below + shock)
        plateau.add(values)
        decision = plateau.decide()
        rate *= RATE if decision == LOWER else 1.0
        if decision == STOP:
            return plateau, way, True
    return plateau, way, False


@pytest.mark.parametrize(("correlation", "size"), [(0.0, 0.4), (0.5, 0.1), (0.9, 0.1), (0.9, 0.4)])
@pytest.mark.parametrize("kind", RISING)
def test_what_rises_is_never_called_converged(kind: str, correlation: float, size: float) -> None:
    level, false = RISING[kind], 0
    for noise in _noise(0, correlation, size):
        plateau, way, _ = _simulated(level, noise)
        false += plateau.verdict().status == CONVERGED and level(2.0 * way) - level(way) > 1.0
    assert false <= 0.01 * TRACES


@pytest.mark.parametrize(("correlation", "size"), [(0.0, 0.3), (0.5, 0.1)])
def test_rest_is_seen_within_a_hundred_rows(correlation: float, size: float) -> None:
    found = [_simulated(lambda way: 0.0, noise)[0] for noise in _noise(1, correlation, size)]
    assert sum(plateau.verdict().status == CONVERGED for plateau in found) >= 0.95 * TRACES
    assert max(len(plateau.points) for plateau in found) <= 100 * ROW


def test_rest_after_a_start_that_moved_is_seen() -> None:
    for noise in _noise(2, 0.3, 0.1, 10):
        plateau, _, stopped = _simulated(lambda way: -1e5 * np.exp(-way / 10.0), noise)
        assert stopped and plateau.verdict().status == CONVERGED


def test_noise_that_hides_the_rest_is_said_and_ends_the_fit() -> None:
    plateau, _, stopped = _simulated(lambda way: 0.0, _noise(3, 0.3, 5.0, 1)[0])
    assert stopped and len(plateau.points) <= 250
    verdict = plateau.verdict()
    assert verdict.status == UNKNOWN and "larger batches" in verdict.advice


@pytest.mark.parametrize(("deficit", "stages"), [(0.0, 2), (5.0, 3), (20.0, 4), (1000.0, MOST + 1)])
def test_the_rate_falls_until_lower_ones_bring_nothing(deficit: float, stages: int) -> None:
    plateau, _, stopped = _simulated(lambda way: 0.0, _noise(4, 0.0, 0.1, 1)[0], deficit)
    assert stopped and len(plateau.stages) == stages
    left = deficit * RATE ** (stages - 1)  # what the bound still lacks
    assert (plateau.verdict().status == CONVERGED) == (left < 1.0)
    if left < 1.0:
        assert f"the last of {stages} could bring" in plateau.verdict().reason


def test_what_falls_is_not_converged() -> None:
    plateau = Plateau(1.0)
    plateau.add(list(-0.5 * np.arange(60)))
    assert plateau.verdict().status == NOT_CONVERGED


def test_a_first_stage_with_a_limit_ends_there_though_the_bound_rises() -> None:
    plateau = Plateau(1.0, limit=100)
    decisions = []
    for i in range(30):
        plateau.add([float(10 * (4 * i + j)) for j in range(4)])
        decisions.append(plateau.decide())
    assert LOWER in decisions and decisions[: decisions.index(LOWER)] == [ON] * decisions.index(LOWER)
    assert 100 <= plateau.stages[1] <= 110
    assert plateau.verdict().status in (NOT_CONVERGED, UNKNOWN)


def test_blocks_and_a_stored_state_do_not_depend_on_rows() -> None:
    values = list(np.random.default_rng(5).normal(size=1_000))
    one, other = Plateau(1.0, block=7), Plateau(1.0, block=7)
    one.add(values)
    for i in range(0, 1_000, 13):
        again = Plateau(1.0, block=7)
        again.read(other.stored())
        again.add(values[i : i + 13])
        other = again
    assert one.points == other.points and one.open == other.open
    assert one.points[0] == pytest.approx(np.mean(values[:7]))


def test_the_tolerance_is_that_of_standard_errors_or_of_nats_per_datum() -> None:
    assert tolerance_of(100, 5) == 0.5
    assert tolerance_of(200, 60) == pytest.approx(60 * 0.3**2 / 2)  # 60 parameters 0.3 standard errors from the top
    assert tolerance_of(2_000, 400_000) == 100.0  # a twentieth of a nat per datum
    assert tolerance_of(1e6, 5) == 1_000.0


def _held_out(values: list[float]) -> tuple[HeldOut, list[str]]:
    watch, decisions = HeldOut(0.5), []
    for value in values:
        watch.add([value])
        decisions.append(watch.decide())
        if decisions[-1] == STOP:
            break
    return watch, decisions


def test_validation_data_whose_bound_falls_end_a_stage_and_then_the_fit() -> None:
    falling = [*np.linspace(-100.0, -50.0, 10), *np.linspace(-50.0, -80.0, 200)]
    watch, decisions = _held_out(falling)
    assert decisions.count(LOWER) == 1 and decisions[-1] == STOP
    assert len(decisions) <= 40
    verdict = watch.verdict()
    assert verdict.status == CONVERGED and "highest (-50) at evaluation 10 of" in verdict.reason


def test_validation_data_whose_bound_rises_go_on() -> None:
    watch, decisions = _held_out(list(np.arange(300.0)))
    assert set(decisions) == {ON}
    assert watch.verdict().status == NOT_CONVERGED
    assert HeldOut(0.5).verdict().status == UNKNOWN
