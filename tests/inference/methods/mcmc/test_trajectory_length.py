"""The criterion's gradient against its own differences, and the length that Adam climbs to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jensen.inference.methods.mcmc.trajectory_length import TrajectoryLength, criterion_gradient, halton


def normal_flow(v: torch.Tensor, p: torch.Tensor, time: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Hamilton's equations of a standard normal, solved."""
    return v * math.cos(time) + p * math.sin(time), p * math.cos(time) - v * math.sin(time)


def pairs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """States and their mirror images, so that no mean moves."""
    generator = torch.Generator().manual_seed(seed)
    v, p = torch.randn(2, count, 3, generator=generator, dtype=torch.float64)
    return torch.cat([v, -v]), torch.cat([p, -p])


@pytest.mark.parametrize("time", [0.3, 1.0, 2.2])
def test_the_gradient_is_that_of_the_criterion(time: float) -> None:
    v, p = pairs(50, 0)

    def criterion(log_time: float) -> float:
        ended, _ = normal_flow(v, p, math.exp(log_time))
        change = (ended - ended.mean(0)).square().sum(-1) - (v - v.mean(0)).square().sum(-1)
        return 0.25 * float(change.square().mean())

    width = 1e-5
    expected = (criterion(math.log(time) + width) - criterion(math.log(time) - width)) / (2 * width)
    ended, momentum = normal_flow(v, p, time)
    found = criterion_gradient(v, ended, momentum, torch.ones(100, dtype=torch.float64), time)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_trajectories_that_are_not_accepted_do_not_count() -> None:
    v, p = pairs(50, 1)
    ended, momentum = normal_flow(v, p, 0.7)
    acceptance = torch.ones(100, dtype=torch.float64)
    acceptance[[4, 54]] = 0.0
    lost, gone = ended.clone(), momentum.clone()
    lost[4], lost[54], gone[4] = math.nan, math.inf, math.nan
    found = criterion_gradient(v, lost, gone, acceptance, 0.7)
    assert torch.equal(found, criterion_gradient(v, ended, momentum, acceptance, 0.7))
    assert bool(criterion_gradient(v, lost, gone, torch.zeros_like(acceptance), 0.7) == 0.0)


@pytest.mark.parametrize("start", [0.05, 1.0])
def test_the_length_climbs_to_where_the_criterion_is_largest(start: float) -> None:
    """On a standard normal the criterion at time t is proportional to sin^2 t, here averaged over the jitter."""
    grid = np.linspace(0.2, 4.0, 500)
    jitter = np.array([halton(i) for i in range(1, 513)])
    best = grid[(np.sin(np.outer(grid, jitter)) ** 2).mean(1).argmax()]
    length = TrajectoryLength.start(start)
    for i in range(1, 600):
        v, p = pairs(60, i)
        time = halton(i) * math.exp(length.latest)
        ended, momentum = normal_flow(v, p, time)
        gradient = criterion_gradient(v, ended, momentum, torch.ones(len(v), dtype=torch.float64), time)
        length = length.update(float(gradient), 50.0)
    assert math.exp(length.average) == pytest.approx(best, rel=0.1)


def test_a_gradient_without_a_number_changes_nothing() -> None:
    for gradient in (math.nan, math.inf, -math.inf, 1e200, 0.0):
        assert TrajectoryLength.start(1.0).update(gradient, 10.0).latest == 0.0


def test_the_length_does_not_depend_on_the_units_of_the_gradient_and_keeps_its_limit() -> None:
    small, large = TrajectoryLength.start(1.0), TrajectoryLength.start(1.0)
    for i in range(1_000):
        small, large = small.update(3e-9, 10.0), large.update(3e9, 10.0)
        if i == 10:
            assert small.latest == pytest.approx(large.latest)
            assert small.latest == pytest.approx(11 * 0.025)
    assert math.exp(small.latest) == pytest.approx(10.0)


def test_the_sequence_fills_the_interval() -> None:
    found = np.array([halton(i) for i in range(1, 256)])
    assert np.allclose(np.sort(found), np.arange(1, 256) / 256)
