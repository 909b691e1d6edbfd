"""Learning rates are functions of the step alone: factors of the fraction of training, or any torch scheduler."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from jensen.inference import SVI, ConfigurationError, iwae_schedule
from jensen.inference.step.learning_rates import LearningRates
from jensen.models import BayesianLinearRegression


def test_the_constant_rate() -> None:
    rates = LearningRates(0.1, None, 10)
    assert not rates.changes
    assert [rates(step) for step in (0, 9)] == [0.1, 0.1]


def test_a_factor_of_the_fraction_ends_at_its_last_value() -> None:
    rates = LearningRates(0.1, lambda fraction: 1.0 - 0.5 * fraction, 11)
    assert rates.changes
    np.testing.assert_allclose([rates(step) for step in (0, 5, 10)], [0.1, 0.075, 0.05])
    assert LearningRates(0.1, lambda fraction: 1.0 - fraction, 1)(0) == 0.1


@pytest.mark.parametrize("factor", [np.float32(0.5), torch.tensor(0.5), 1, np.float64(0.5)])
def test_any_number_is_a_factor(factor: object) -> None:
    assert LearningRates(0.2, lambda fraction: factor, 5)(3) == pytest.approx(0.2 * float(factor))  # type: ignore[arg-type]


def test_the_schedule_of_the_iwae_paper() -> None:
    rates = LearningRates(1e-3, iwae_schedule, 3280)
    stages = np.cumsum([3**i for i in range(8)])
    for stage in range(8):
        first = 0 if stage == 0 else stages[stage - 1]
        for step in {first, stages[stage] - 1}:  # the fraction of the last step is 1, hence the shift by one part
            assert rates(int(step)) == pytest.approx(1e-3 * 10 ** (-stage / 7), rel=0.4)
    assert rates(0) == 1e-3
    assert rates(3279) == pytest.approx(1e-4)


SCHEDULERS = {
    "step": functools.partial(lr_scheduler.StepLR, step_size=3, gamma=0.5),
    "cosine": functools.partial(lr_scheduler.CosineAnnealingLR, T_max=10),
    "warm-up": lambda optimizer: lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4),
    "one cycle": functools.partial(lr_scheduler.OneCycleLR, max_lr=0.5, total_steps=12, cycle_momentum=False),
    "sequence": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4), lr_scheduler.ExponentialLR(optimizer, 0.9)],
        [4],
    ),
}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_a_torch_scheduler_is_followed_step_by_step_and_at_random(make: object) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = make(optimizer)  # type: ignore[operator]
    expected = []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    rates = LearningRates(0.1, make, 12)  # type: ignore[arg-type]
    np.testing.assert_allclose([rates(step) for step in range(12)], expected, rtol=1e-12)
    again = LearningRates(0.1, make, 12)  # type: ignore[arg-type]
    assert [again(step) for step in (11, 3, 7)] == [rates(step) for step in (11, 3, 7)]


def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`lr_schedule` must be a function"):
        LearningRates(0.1, 3, 10)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"`lr_schedule` cannot be made: .*step_size"):
        LearningRates(0.1, lr_scheduler.StepLR, 10)


@pytest.mark.parametrize("compile", [False, "trace"])
@pytest.mark.parametrize("factor", [lambda f: 1.0 - f, lambda f: f], ids=["to zero", "from zero"])
def test_a_rate_of_zero_stands_still(compile: bool | str, factor: object, float64: None) -> None:
    torch.manual_seed(0)
    x = torch.randn(20, 2)
    data = {"x": x, "y": x.sum(-1)}
    fits = [
        SVI(steps=30, lr=0.05, lr_schedule=factor, compile=mode).fit(BayesianLinearRegression(2), data, seed=0)
        for mode in (compile, False)
    ]
    for first, second in zip(*(fit.guide.parameters() for fit in fits), strict=True):
        assert torch.isfinite(first).all()
        torch.testing.assert_close(first, second)
