"""EM on a textbook example, its stopping rule, its errors and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from jensen.inference import EM, SVI, ConfigurationError, DataError, ModelError, NonFiniteError, TraceEnum_ELBO, load
from jensen.models import BayesianLinearRegression, LinearGaussian


def test_the_textbook_numbers(two_coins: Any, tosses: torch.Tensor) -> None:
    """Do and Batzoglou, *What is the expectation maximization algorithm?*, 2008: 0.71, 0.58 and at last 0.80, 0.52."""
    first = EM(steps=1).fit(two_coins, tosses)
    torch.testing.assert_close(first.model.bias.detach(), torch.tensor([0.71, 0.58]), atol=0.005, rtol=0)
    fit = EM(steps=10, tolerance=1e-12).fit(two_coins, tosses)
    torch.testing.assert_close(fit.model.bias.detach(), torch.tensor([0.80, 0.52]), atol=0.005, rtol=0)
    assert two_coins.bias.tolist() == [0.6, 0.5]


def test_every_row_is_the_likelihood_and_none_falls(two_coins: Any, tosses: torch.Tensor) -> None:
    fit = EM(steps=30, tolerance=1e-14).fit(two_coins, tosses)
    assert fit.history.bound.is_monotonic_increasing and fit.history.step.tolist() == list(range(len(fit.history)))
    _, likelihood = fit.model.e_step({"x": tosses})
    assert fit.history.bound.iloc[-1] == pytest.approx(float(likelihood.detach()), abs=1e-12)
    assert fit.history.bound_per_datum.iloc[-1] == pytest.approx(fit.history.bound.iloc[-1] / 5)


def test_svi_reaches_no_more(two_coins: Any, tosses: torch.Tensor) -> None:
    exact = EM(tolerance=1e-13).fit(two_coins, tosses)
    assert exact.info["converged"] and exact.info["steps"] < 500
    noisy = SVI(TraceEnum_ELBO(), steps=400, lr=0.01).fit(two_coins, tosses)
    assert noisy.history.bound.max() == pytest.approx(exact.history.bound.iloc[-1], abs=1e-4)


def test_a_likelihood_that_falls_is_told(two_coins: Any, tosses: torch.Tensor) -> None:
    class Wrong(type(two_coins)):
        def m_step(self, statistics: Any) -> None:
            heads, total = statistics
            self.bias.copy_(1 - heads / total)

    with pytest.warns(RuntimeWarning, match=r"EM: the bound fell from .* `Wrong` must raise it"):
        EM(steps=3).fit(Wrong(), tosses)


def test_a_model_without_the_steps_is_told_what_suits(two_coins: Any, tosses: torch.Tensor) -> None:
    with pytest.raises(
        ModelError, match=r"EM needs .*`e_step` and `m_step`, which `BayesianLinearRegression` lacks. It"
    ):
        EM().fit(BayesianLinearRegression(3), {"x": torch.ones(4, 3), "y": torch.ones(4)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be a positive whole number, got 0"),
        ({"tolerance": -1.0}, "`tolerance` must be a positive, finite number"),
        ({"restarts": 1.5}, "`restarts` must be a positive whole number"),
        ({"dtype": torch.int64}, "`dtype` must be a floating-point torch.dtype"),
        ({"checkpoint_every": 0}, "`checkpoint_every` must be"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EM(**options)


def test_a_stream_is_refused(two_coins: Any, tosses: torch.Tensor) -> None:
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(tosses), batch_size=2)
    with pytest.raises(DataError, match="`data` must be in memory for EM, got a stream"):
        EM().fit(two_coins, loader)


def test_not_finite_says_so(two_coins: Any, tosses: torch.Tensor) -> None:
    class Broken(type(two_coins)):
        def m_step(self, statistics: Any) -> None:
            self.bias.mul_(float("nan"))

        def e_step(self, data: Any) -> Any:
            value = self.bias.sum() + 1
            return (value, value), value

    with pytest.raises(NonFiniteError, match="EM: the bound is nan after update 1"):
        EM().fit(Broken(), tosses)


def test_a_stopped_run_goes_on_where_it_was(two_coins: Any, tosses: torch.Tensor, tmp_path: Path) -> None:
    whole = EM(steps=9, tolerance=1e-15).fit(two_coins, tosses)

    class Killed(Exception):
        pass

    def kill(progress: Any) -> None:
        if progress.step == 6:
            raise Killed

    method = EM(steps=9, tolerance=1e-15, checkpoint_every=2)
    with pytest.raises(Killed):
        method.fit(two_coins, tosses, checkpoint=tmp_path, callbacks=[kill])
    again = method.fit(two_coins, tosses, checkpoint=tmp_path)
    assert torch.equal(again.model.bias, whole.model.bias)
    assert again.history.bound.tolist() == whole.history.bound.tolist()
    assert method.fit(two_coins, tosses, checkpoint=tmp_path).history.equals(again.history)


def test_callbacks_stop_and_validation_is_logged(two_coins: Any, tosses: torch.Tensor) -> None:
    fit = EM().fit(two_coins, tosses, validation=tosses[:2], callbacks=[lambda progress: progress.step == 3])
    assert fit.status == "stopped early" and fit.info["steps"] == 3
    _, exact = fit.model.e_step({"x": tosses[:2]})
    assert fit.history.validation_bound.iloc[-1] == pytest.approx(float(exact.detach()), abs=1e-9)


def test_the_best_start_is_kept(two_coins: Any, tosses: torch.Tensor) -> None:
    class Random(type(two_coins)):
        def initialize(self, batch: Any, seed: int) -> None:
            self.bias.data.copy_(torch.rand(2, generator=torch.Generator().manual_seed(seed)))

    fit = EM(steps=2, restarts=4).fit(Random(), tosses)
    assert fit.history.bound.iloc[-1] == max(fit.info["restart_bounds"]) and len(set(fit.info["restart_bounds"])) == 4


def test_the_fit_is_saved_and_read_back(two_coins: Any, tosses: torch.Tensor, tmp_path: Path) -> None:
    fit = EM(steps=5).fit(two_coins, tosses)
    fit.save(tmp_path / "fit")
    found = load(tmp_path / "fit", model=two_coins)
    assert found.method == "EM" and torch.equal(found.model.bias, fit.model.bias) and "EM" in repr(found)


def test_a_guide_that_contains_the_posterior_is_set_to_it(float64: None) -> None:
    class Still(LinearGaussian):
        def e_step(self, data: Any) -> Any:
            return None, self.log_evidence(data).sum()

        def m_step(self, statistics: Any) -> None:
            pass

    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    fit = EM(steps=1).fit(Still(3, 2), x)
    exact = fit.model.exact_posterior({"x": x})["z"]
    torch.testing.assert_close(fit.posterior(4_000, x)["z"].mean(0), exact.mean.detach(), atol=0.1, rtol=0)
