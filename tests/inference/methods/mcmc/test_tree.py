"""One transition leaves its target as it is; warm-up's windows and step sizes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from jensen.inference.methods.mcmc.adaptation import StepSize, windows
from jensen.inference.methods.mcmc.chains import run_together
from jensen.inference.methods.mcmc.metric import Metric
from jensen.inference.methods.mcmc.tree import Ask, Place, reasonable_step, transition


def gaussian(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -0.5 * (u**2).sum(1), -u


def heavy(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's t of five degrees of freedom, in each number."""
    return -3.0 * np.log1p(u**2 / 5.0).sum(1), -6.0 * u / (5.0 + u**2)


def place(evaluate: object, v: np.ndarray) -> Place:
    value, gradient = evaluate(v[None])  # type: ignore[operator]
    return Place(v, float(value[0]), gradient[0])


@pytest.mark.parametrize("depth", [1, 2, 10])
@pytest.mark.parametrize("step", [0.3, 1.4])
def test_a_transition_leaves_the_target_as_it_is(depth: int, step: float) -> None:
    """Starts are exact draws; so must their successors be, however long the step and however short the tree."""
    rng, count = np.random.default_rng(0), 4_000
    starts = rng.standard_t(5, size=(count, 2))
    value, gradient = heavy(starts)
    chains = [
        transition(Place(v, float(a), g), step, np.random.default_rng([1, i]), depth)
        for i, (v, a, g) in enumerate(zip(starts, value, gradient, strict=True))
    ]
    ended = run_together(chains, heavy, Metric(np.ones(2)), starts)
    found = np.stack([end.place.v for end in ended]).ravel()
    assert not np.allclose(found, starts.ravel())
    from scipy.stats import kstest, t

    assert kstest(found, t(5).cdf).pvalue > 1e-3
    assert all(1 <= end.leapfrogs <= 2**depth - 1 for end in ended)
    assert all(end.place.value == pytest.approx(heavy(end.place.v[None])[0][0]) for end in ended[:50])


def test_a_trajectory_ends_where_it_turns() -> None:
    """Half a period of a standard normal is pi, about as long as a trajectory: steps of 0.1 need five doublings."""
    v = np.array([1.0, 0.5, -0.3])
    (ended,) = run_together(
        [transition(place(gaussian, v), 0.1, np.random.default_rng(3), 10)], gaussian, Metric(np.ones(3)), v[None]
    )
    assert ended.depth in (5, 6)
    assert ended.acceptance > 0.99


def test_lost_energy_is_a_divergence() -> None:
    def cliff(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.abs(u).max(1) < 2.0
        return np.where(inside, 0.0, np.nan), np.zeros_like(u)

    v = np.zeros(1)
    (ended,) = run_together(
        [transition(place(cliff, v), 1.0, np.random.default_rng(0), 10)], cliff, Metric(np.ones(1)), v[None]
    )
    assert ended.diverged
    assert abs(ended.place.v[0]) < 2.0


def test_a_chain_does_not_depend_on_those_beside_it() -> None:
    def chain(seed: int) -> Ask[float]:
        here = place(gaussian, np.array([0.3, -1.0]))
        rng = np.random.default_rng(seed)
        for _ in range(5):
            moved = yield from transition(here, 0.4, rng, 10)
            here = moved.place
        return float(here.v.sum())

    u, metric = np.zeros((3, 2)), Metric(np.ones(2))
    together = run_together([chain(1), chain(2), chain(3)], gaussian, metric, u)
    assert together == [run_together([chain(seed)], gaussian, metric, u[:1])[0] for seed in (1, 2, 3)]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_first_step_is_as_long_as_the_target_is_wide(scale: float) -> None:
    def scaled(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return -0.5 * ((u / scale) ** 2).sum(1), -u / scale**2

    v = np.full(4, 0.5 * scale)
    (step,) = run_together(
        [reasonable_step(place(scaled, v), 1.0, np.random.default_rng(0))], scaled, Metric(np.ones(4)), v[None]
    )
    assert 0.25 * scale < step < 8.0 * scale


def test_dual_averaging_finds_the_step_of_the_target_acceptance() -> None:
    """Of an acceptance that falls with the step as exp(-step), 0.8 is reached at -log 0.8."""
    size = StepSize.start(1.0)
    for _ in range(2_000):
        size = size.update(math.exp(-math.exp(size.latest)), 0.8)
    assert math.exp(size.average) == pytest.approx(-math.log(0.8), rel=0.05)


def test_windows_are_those_of_stan() -> None:
    assert windows(1_000) == [(75, 100), (100, 150), (150, 250), (250, 450), (450, 950)]
    assert windows(10) == []
    for warmup in range(20, 400, 7):
        found = windows(warmup)
        assert all(a < b for a, b in found)
        assert all(left[1] == right[0] for left, right in itertools.pairwise(found))
        assert found[0][0] >= 0
        assert found[-1][1] <= warmup


@pytest.mark.parametrize("dense", [True, False])
def test_a_metric_forgets_what_misled_it(dense: bool) -> None:
    rng, truth = np.random.default_rng(0), np.array([[4.0, 1.8], [1.8, 1.0]])
    metric = Metric(100.0 * np.eye(2) if dense else np.full(2, 100.0))
    draws = rng.multivariate_normal([5.0, -3.0], truth, size=(4, 50_000))
    found = metric.adapted(draws + np.arange(4)[:, None, None]).covariance  # chains that stand apart are no spread
    wanted = truth if dense else truth.diagonal()
    assert np.allclose(found, wanted, rtol=0.3, atol=0.4)
    u = draws[0, :3]
    assert np.allclose(metric.to_u(metric.to_v(u)), u)
