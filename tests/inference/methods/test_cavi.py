"""CAVI on a model with two factors: monotone, at the best factorised posterior, and by mini-batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jensen.inference import (
    CAVI,
    EM,
    ConfigurationError,
    DataError,
    ModelError,
    elbo_terms,
    load,
    log_evidence,
    pareto_k,
)
from jensen.models import BayesianLogisticRegression, HiddenMarkovModel


def test_the_bound_rises_and_is_the_bound_of_the_pair(unknown_normal: Any, numbers: torch.Tensor) -> None:
    fit = CAVI(steps=50, tolerance=1e-12).fit(unknown_normal, numbers)
    assert fit.history.bound.is_monotonic_increasing and fit.info["converged"]
    estimate = elbo_terms(fit, num_particles=2_000)
    assert abs(estimate.value - fit.history.bound.iloc[-1]) < 5 * estimate.stderr
    evidence = log_evidence(fit, num_particles=4_000)
    assert fit.history.bound.iloc[-1] < evidence.value + 3 * evidence.stderr
    assert pareto_k(fit).value < 0.7


def test_the_posterior_is_where_the_data_are(unknown_normal: Any, numbers: torch.Tensor) -> None:
    draws = CAVI().fit(unknown_normal, numbers).posterior(4_000)
    assert float(draws["m"].mean()) == pytest.approx(float(numbers.mean()), abs=0.02)
    assert float(draws["tau"].rsqrt().mean()) == pytest.approx(float(numbers.std()), abs=0.05)


def test_mini_batches_end_where_sweeps_do(unknown_normal: Any, numbers: torch.Tensor) -> None:
    exact = CAVI(tolerance=1e-12).fit(unknown_normal, numbers)
    noisy = CAVI(steps=400, batch_size=50, forgetting=0.9).fit(unknown_normal, numbers)
    assert noisy.info["steps"] == 400
    for name in ("loc", "scale", "shape", "rate"):
        torch.testing.assert_close(getattr(noisy.guide, name), getattr(exact.guide, name), rtol=0.05, atol=0.05)
    whole = CAVI(steps=3, batch_size=200, delay=0.0).fit(unknown_normal, numbers)  # its first rate is 1
    once = CAVI(steps=1).fit(unknown_normal, numbers)
    assert whole.history.bound.iloc[0] == pytest.approx(once.history.bound.iloc[0])


def test_a_stopped_run_goes_on_where_it_was(unknown_normal: Any, numbers: torch.Tensor, tmp_path: Path) -> None:
    method = CAVI(steps=30, batch_size=40, checkpoint_every=4)
    whole = method.fit(unknown_normal, numbers, seed=2)

    class Killed(Exception):
        pass

    def kill(progress: Any) -> None:
        if progress.step == 18:
            raise Killed

    with pytest.raises(Killed):
        method.fit(unknown_normal, numbers, seed=2, checkpoint=tmp_path, callbacks=[kill])
    again = method.fit(unknown_normal, numbers, seed=2, checkpoint=tmp_path)
    assert again.history.bound.tolist() == whole.history.bound.tolist()
    assert torch.equal(again.guide.rate, whole.guide.rate)


def test_the_fit_is_saved_and_read_back(unknown_normal: Any, numbers: torch.Tensor, tmp_path: Path) -> None:
    fit = CAVI(steps=5).fit(unknown_normal, numbers)
    fit.save(tmp_path / "fit")
    found = load(tmp_path / "fit", model=unknown_normal)
    assert torch.equal(found.posterior(5, seed=1)["m"], fit.posterior(5, seed=1)["m"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be a positive whole number"),
        ({"delay": -1}, "`delay` must be a number of steps, at least 0"),
        ({"forgetting": 0.5}, r"`forgetting` must be in \(0.5, 1\], got 0.5"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CAVI(**options)


def test_a_model_without_factors_is_told_what_suits(two_coins: Any, tosses: torch.Tensor) -> None:
    with pytest.raises(ModelError, match=r"CAVI needs .*`coordinate_guide`, which `TwoCoins` lacks. .* by SVI, EM\."):
        CAVI().fit(two_coins, tosses)


def test_factors_without_a_noisy_step_say_so(unknown_normal: Any, numbers: torch.Tensor) -> None:
    from jensen.models import CoordinateGuide

    class Plain(CoordinateGuide):
        def forward(self, **batch: Any) -> None: ...

        def update(self, data: Any) -> torch.Tensor:
            return torch.zeros(())

    with pytest.raises(NotImplementedError, match="`Plain` has no step for mini-batches: leave `batch_size` None"):
        Plain().stochastic_update({}, 3, 0.5)


def labelled(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return {"x": x, "y": (x[:, 0] > 0).to(dtype)}


def test_mini_batches_are_refused_before_the_first_update() -> None:
    seen = []
    with pytest.raises(ModelError, match=r"`batch_size` = 10 needs factors .* those of `BayesianLogisticRegression`"):
        CAVI(batch_size=10).fit(BayesianLogisticRegression(2), labelled(), callbacks=[seen.append])
    assert not seen


def test_a_fit_without_what_the_model_observes_is_refused() -> None:
    data = labelled()
    with pytest.raises(DataError, match=r"Nothing is observed: .* Pass `y` in the data"):
        CAVI().fit(BayesianLogisticRegression(2), data["x"])
    with pytest.raises(DataError, match=r"Nothing is observed: .* Pass `y` in the data"):
        CAVI().fit(BayesianLogisticRegression(2), data, validation={"x": data["x"]})
    with pytest.raises(DataError, match=r"Nothing is observed: .* Pass `x` in the data"):
        EM().fit(HiddenMarkovModel(2, 1), {"lengths": torch.tensor([1, 2])})


def test_given_data_are_scored_in_the_fits_number_type() -> None:
    data = labelled()
    fit = CAVI(dtype=torch.float64, progress=False).fit(BayesianLogisticRegression(2), data)
    for metric in (log_evidence, elbo_terms, pareto_k):
        assert metric(fit, data).value == pytest.approx(metric(fit).value, rel=1e-12)
