"""Weights have the means that they should, moves leave each density as it is, and what the pilot froze stays so."""

from __future__ import annotations

import math

import pytest
import torch

from jensen.inference.annealing.bridge import Bridge, NormalBase, build_bridge
from jensen.inference.annealing.passage import Passage
from jensen.inference.annealing.pilot import run_pilot
from jensen.inference.annealing.resampling import even_out, systematic
from jensen.inference.annealing.schedule import SCHEDULES, Knots, make_plan
from jensen.inference.annealing.transition import Transition, start_at
from jensen.inference.diagnostics.annealed_evidence import annealed_estimate, plain_bound
from jensen.inference.diagnostics.evidence_sandwich import EvidenceSandwich

PARTICLES = 1_000
RUNS, EACH = 40, 64  # runs that share a pilot, and the particles of each


def passage(
    bridge: Bridge, steps: int, schedule: str = "adaptive", back: bool = False, count: int = PARTICLES, groups: int = 0
) -> Passage:
    transition = Transition(bridge, 2)
    plan = make_plan(run_pilot(bridge, transition, 100, 0), steps, schedule)
    transition.compile(start_at(bridge, bridge.draw(count, 0, "example")), steps, None)
    return Passage(bridge, transition, plan, count, 0, "test", back=back, groups=groups)


def error_of_mean(weights: torch.Tensor, mean: float = 1.0) -> float:
    """In standard errors."""
    return float((weights.mean() - mean) / (weights.std() / math.sqrt(len(weights))))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_mean_weight_is_the_evidence_with_few_temperatures(line, schedule):
    """So few that chains are far from mixed: an estimator with a bias shows it."""
    bridge = build_bridge("AIS", line.model, line.data)
    run = passage(bridge, 30, schedule)
    state = run.complete(start_at(bridge, bridge.draw(PARTICLES, 1, "there")))
    weights = (state[-1] - line.exact).exp()
    assert float(weights.std()) > 0.5
    assert abs(error_of_mean(weights)) < 3.5
    assert error_of_mean(state[-1], line.exact) < -10  # log weights lie below the evidence in expectation


def test_the_mean_weight_on_the_way_back_is_one_over_the_evidence(line):
    bridge = build_bridge("AIS", line.model, line.data)
    state = passage(bridge, 60, back=True).complete(start_at(bridge, line.draw(PARTICLES)))
    weights = (state[-1] + line.exact).exp()
    assert float(weights.std()) > 0.1
    assert abs(error_of_mean(weights)) < 3.5
    assert error_of_mean(-state[-1], line.exact) > 10  # an upper bound in expectation
    assert abs(error_of_mean(state[0][:, 0])) > 10  # they are at the prior again, whose mean is 0
    assert abs(error_of_mean(state[0][:, 0], 0.0)) < 3.5
    assert abs(error_of_mean(state[0][:, 0].square(), 4.0)) < 3.5


@pytest.mark.parametrize("name", ["line", "mixture"])
def test_errors_and_intervals_cover_the_exact_evidence(name, request):
    """Of 40 runs, 95 % and 90 %: fewer than 34 and 30 would be less than one in a hundred.

    Of the mixture, rare draws between its modes have most of the weight on the way back: what lacks them lies above.
    """
    case = request.getfixturevalue(name)
    bridge, count = build_bridge("AIS", case.model, case.data), RUNS * EACH
    there = passage(bridge, 60, count=count).complete(start_at(bridge, bridge.draw(count, 1, "there")))
    back = passage(bridge, 60, back=True, count=count).complete(start_at(bridge, case.draw(count)))
    assert abs(error_of_mean((there[-1] - case.exact).exp())) < 3.5
    lower = [annealed_estimate(part, 1) for part in there[-1].reshape(RUNS, EACH)]
    upper = [annealed_estimate(part, 1, back=True) for part in back[-1].reshape(RUNS, EACH)]
    for found in (lower, upper):
        assert sum(abs(each.value - case.exact) < 2.0 * each.stderr for each in found) >= 34 or name == "mixture"
        assert max(each.stderr for each in found) < 1.0
    assert sum(each.value < case.exact + 2.0 * each.stderr for each in lower) >= 34
    assert sum(each.value > case.exact - 2.0 * each.stderr for each in upper) >= 34
    sandwiches = [
        EvidenceSandwich(plain_bound(a), plain_bound(b), 0.9, False, {}) for a, b in zip(lower, upper, strict=True)
    ]
    assert sum(s.interval[0] <= case.exact <= s.interval[1] for s in sandwiches) >= 30
    assert all(s.guaranteed[0] <= case.exact <= s.guaranteed[1] for s in sandwiches)


def test_groups_that_are_resampled_cover_the_exact_evidence(line):
    bridge, count = build_bridge("AIS", line.model, line.data), RUNS * EACH
    run = passage(bridge, 40, count=count, groups=16 * RUNS)
    state = run.complete(start_at(bridge, bridge.draw(count, 1, "there")))
    assert abs(error_of_mean((state[-1].reshape(-1, 4).logsumexp(-1) - math.log(4) - line.exact).exp())) < 3.5
    found = [annealed_estimate(part, 1, groups=16) for part in state[-1].reshape(RUNS, EACH)]
    assert sum(abs(each.value - line.exact) < 2.0 * each.stderr for each in found) >= 34
    once = passage(bridge, 40, count=count).complete(start_at(bridge, bridge.draw(count, 1, "there")))
    assert float(state[-1].std()) < float(once[-1].std())


def test_moves_leave_a_tempered_posterior_as_it_is(line):
    bridge = build_bridge("AIS", line.model, line.data)
    transition = Transition(bridge, 3)
    u = line.draw(PARTICLES)
    factor = torch.tensor([[0.3, 0.0, 0.0, 0.0], [0.1, 0.2, 0.0, 0.0], [0.0, 0.0, 0.2, 0.0], [0.0, 0.1, 0.0, 0.1]])
    generator = torch.Generator().manual_seed(0)
    rows = [
        torch.randn(10, *u.shape, generator=generator),
        torch.rand(10, len(u), generator=generator).log(),
        torch.full((10, len(u), 1), 0.25),
        torch.tensor([[1.0, 0.0, 0.0]]).expand(10, 3),
    ]
    state, rates = transition(start_at(bridge, u), factor, rows)
    assert 0.3 < float(rates.mean()) < 0.95
    assert float((state[0] - u).abs().mean()) > 0.05
    for before, after in (
        (u, state[0]),
        (u**2, state[0] ** 2),
        (u[:, :1] * u[:, 1:], state[0][:, :1] * state[0][:, 1:]),
    ):
        change = after - before
        assert float((change.mean(0) / (change.std(0) / math.sqrt(len(u)))).abs().max()) < 4
    assert torch.equal(state[-1], torch.zeros(len(u)))
    at = bridge.terms(state[0])
    assert all(torch.allclose(a, b) for a, b in zip(state[1:5], at, strict=True))


def test_compiled_and_eager_steps_are_the_same(line):
    bridge = build_bridge("AIS", line.model, line.data)
    found = {}
    for wanted in (None, False, True):
        transition = Transition(bridge, 2)
        begin = start_at(bridge, bridge.draw(32, 0, "there"))
        if wanted is not None:
            transition.compile(begin, 20, wanted)
        knots = Knots(torch.tensor([0.0, 1.0]), torch.eye(4).expand(2, 4, 4), torch.tensor([0.1, 0.05]))
        plan = make_plan(knots, 20, "adaptive")
        found[transition.how] = Passage(bridge, transition, plan, 32, 0, "test").complete(begin)
    assert {"eager", "trace"} <= found.keys() and len(found) >= 2
    for other in found.values():
        assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-6) for a, b in zip(found["eager"], other, strict=True))


def test_from_the_posterior_itself_every_weight_is_the_evidence(line):
    draws = line.draw(50_000)
    covariance = torch.linalg.inv(line.data["x"].mT @ line.data["x"] / 0.25 + torch.eye(4) / 4.0)
    base = NormalBase(
        ("w",), covariance @ (line.data["x"].mT @ line.data["y"] / 0.25), torch.linalg.cholesky(covariance)
    )
    bridge = build_bridge("AIS", line.model, line.data, base)
    state = start_at(bridge, bridge.draw(50, 0, "there"))
    assert torch.allclose(state[2], torch.full((50,), line.exact))
    assert float((draws.mean(0) - base.loc).abs().max()) < 0.05


def test_schedules_rise_from_0_to_1(line):
    bridge = build_bridge("AIS", line.model, line.data)
    knots = run_pilot(bridge, Transition(bridge, 2), 100, 0)
    assert float(knots.betas[0]) == 0.0 and float(knots.betas[-1]) == 1.0
    for schedule in SCHEDULES:
        for steps in (1, 2, 7, 500):
            plan = make_plan(knots, steps, schedule)
            assert plan.betas.shape == (steps + 1,) and plan.sizes.shape == (steps,)
            assert float(plan.betas[0]) == 0.0 and float(plan.betas[-1]) == 1.0
            assert bool((plan.betas.diff() > 0).all())
            assert plan.metrics == sorted(plan.metrics)
    whole = make_plan(knots, len(knots.betas) - 1, "adaptive")
    assert torch.allclose(whole.betas, knots.betas) and torch.allclose(whole.sizes, knots.sizes[1:])


def test_resampling_leaves_means_as_they_are():
    log_weights = torch.tensor([0.0, -1.0, -2.0, -5.0, 0.1, 0.0, 0.1, 0.0], dtype=torch.float64)
    places = torch.arange(8, dtype=torch.float64)
    total, generator = torch.zeros(8, dtype=torch.float64), torch.Generator().manual_seed(0)
    for _ in range(2_000):
        at, new = even_out((places, log_weights), 2, generator)
        assert torch.equal(new[4:], log_weights[4:]) and torch.equal(at[4:], places[4:])  # they are even enough
        assert torch.allclose(new[:4], log_weights[:4].logsumexp(0) - math.log(4))
        assert torch.allclose(new.logsumexp(0), log_weights.logsumexp(0))
        total += torch.bincount(at.long(), minlength=8)
    expected = 4.0 * log_weights[:4].softmax(0)
    assert torch.allclose(total[:4] / 2_000, expected, atol=4 * 0.5 / math.sqrt(2_000))
    index = systematic(log_weights, generator, 800)
    counts = torch.bincount(index, minlength=8) / 800
    assert float((counts - log_weights.softmax(0)).abs().max()) <= 1.0 / 800 + 1e-12
