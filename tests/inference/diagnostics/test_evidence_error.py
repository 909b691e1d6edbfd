"""The stated error of a log mean of weights covers, for tails with known shapes, or k-hat says that it cannot."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from jensen.inference.diagnostics import Estimate, log_evidence
from jensen.inference.diagnostics.weights.importance import Importance, WeightSummary
from jensen.inference.diagnostics.weights.pareto import k_threshold, tail_length

pytestmark = pytest.mark.usefixtures("float64")


def _pareto(shape: float, count: int, runs: int) -> Tensor:
    """Log of ``1 + y``, ``y`` of a generalised Pareto law of this shape and scale one, over its mean."""
    log_u = torch.rand(count, runs).log()
    excess = torch.expm1(-shape * log_u) / shape if shape else -log_u
    return torch.log1p(excess) - math.log1p(1.0 / (1.0 - shape))


def _narrow(shape: float, count: int, runs: int, dims: int = 1) -> Tensor:
    """``N(0, 1) / N(0, 1 - k)`` at draws of the latter in each dimension: a tail of shape ``k``, but for logarithms."""
    variance = 1.0 - shape
    x = math.sqrt(variance) * torch.randn(dims, count, runs)
    return (0.5 * math.log(variance) - 0.5 * x**2 + 0.5 * x**2 / variance).sum(0)


def _lognormal(scale: float, count: int, runs: int) -> Tensor:
    return scale * torch.randn(count, runs) - scale**2 / 2


def _summary(log_weights: Tensor) -> Importance:
    summary = WeightSummary(len(log_weights))
    summary.update(log_weights)
    return summary.finish()


def _covers(found: Importance) -> Tensor:
    return found.log_evidence.abs() <= 2.0 * found.variance.sqrt()  # the mean weight is one


def _at_least(hits: Tensor, share: float) -> bool:
    """Whether a coverage of `share` is not refuted, at one in ten thousand, by these runs."""
    return float(binom.cdf(int(hits.sum()), len(hits), share)) > 1e-4


TAILS = [("pareto", k) for k in (0.0, 0.2, 0.4, 0.5, 0.6, 0.7)] + [("narrow", k) for k in (0.2, 0.4, 0.6, 0.7)]
TAILS += [("lognormal", s) for s in (0.2, 1.0, 2.0)]
DRAWS = {"pareto": _pareto, "narrow": _narrow, "lognormal": _lognormal}


@pytest.mark.parametrize("count", [1_000, 5_000])
@pytest.mark.parametrize(("kind", "shape"), TAILS)
def test_two_errors_cover(kind: str, shape: float, count: int) -> None:
    torch.manual_seed(0)
    found = _summary(DRAWS[kind](shape, count, 400))
    assert _at_least(_covers(found), 0.95)
    relied_on = found.pareto_k <= k_threshold(count)
    assert _at_least(_covers(found)[relied_on], 0.93)


@pytest.mark.parametrize("shape", [0.2, 0.4, 0.5])
def test_two_errors_cover_with_few_draws(shape: float) -> None:
    torch.manual_seed(1)
    found = _summary(_pareto(shape, 100, 600))
    assert _at_least(_covers(found), 0.95)


@pytest.mark.parametrize("count", [1_000, 5_000])
@pytest.mark.parametrize(("kind", "shape"), [("pareto", 0.8), ("pareto", 0.95), ("narrow", 0.8), ("narrow", 0.95)])
def test_heavier_tails_are_covered_or_said_to_be_unreliable(kind: str, shape: float, count: int) -> None:
    torch.manual_seed(2)
    found = _summary(DRAWS[kind](shape, count, 400))
    assert _at_least(_covers(found) | (found.pareto_k > k_threshold(count)), 0.80 if shape > 0.9 else 0.90)


def test_the_delta_method_alone_does_not_cover() -> None:
    """What the error is for: with a tail of shape 0.7, that of the plain mean misses in one run of five."""
    torch.manual_seed(3)
    found = _summary(_pareto(0.7, 1_000, 400))
    plain = (-2.0 * found.bias).sqrt()
    assert float((found.log_mean.abs() <= 2.0 * plain).double().mean()) < 0.85


def test_light_tails_have_the_error_of_the_delta_method() -> None:
    torch.manual_seed(4)
    found = _summary(_lognormal(0.5, 5_000, 200))
    plain = (-2.0 * found.bias).sqrt()
    ratio = found.variance.sqrt() / plain
    assert (ratio >= 1.0).all() and ratio.mean() < 1.1
    assert found.log_evidence.std() / plain.mean() == pytest.approx(1.0, abs=4 / math.sqrt(400))


@pytest.mark.parametrize(("kind", "shape", "count"), [("narrow", 0.4, 1_000), ("lognormal", 1.0, 100)])
def test_sums_over_data_cover(kind: str, shape: float, count: int) -> None:
    """The bias of a logarithm adds up over data, where errors add up by squares: 400 data a sum."""
    torch.manual_seed(5)
    parts = [_summary(DRAWS[kind](shape, count, 2_000)) for _ in range(4)]
    value = torch.cat([part.log_evidence for part in parts]).reshape(-1, 400).sum(1)
    error = torch.cat([part.variance for part in parts]).reshape(-1, 400).sum(1).sqrt()
    assert ((value.abs() <= 2.0 * error).sum() >= 18) and value.abs().mean() < error.mean()
    plain = torch.cat([part.log_mean for part in parts]).reshape(-1, 400).sum(1)
    assert plain.mean() < -0.2 * value.std() or kind == "narrow"


def test_what_no_law_with_a_mean_explains_has_a_finite_error() -> None:
    torch.manual_seed(6)
    found = _summary(torch.cat([300.0 * torch.randn(1_000, 3), _pareto(0.5, 1_000, 3) * 6.0], 1))
    assert (found.pareto_k > 1.0).all() and found.variance.isfinite().all() and (found.variance > 1.0).all()


def test_effective_sizes_are_those_of_arvizs_smoothed_weights() -> None:
    import arviz

    torch.manual_seed(7)
    log_weights = torch.stack([_narrow(k, 2_000, 1)[:, 0] for k in (0.2, 0.5, 0.7)], 1)
    smoothed = torch.as_tensor(arviz.psislw(log_weights.numpy().T.copy())[0])
    expected = 1.0 / torch.exp(2.0 * smoothed).sum(-1)
    torch.testing.assert_close(_summary(log_weights).ess, expected, rtol=0.03, atol=0.0)


def test_a_scale_and_a_shift_of_the_weights_change_nothing_else() -> None:
    torch.manual_seed(8)
    log_weights = _narrow(0.6, 1_000, 5)
    one, other = _summary(log_weights), _summary(log_weights - 12_345.0)
    torch.testing.assert_close(one.log_evidence - 12_345.0, other.log_evidence, rtol=0, atol=1e-6)
    for name in ("variance", "ess", "pareto_k"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-8)


def test_few_weights() -> None:
    assert tail_length(20) == 4  # no fit
    found = _summary(torch.randn(20, 3))
    torch.testing.assert_close(found.variance, -2.0 * found.bias)
    torch.testing.assert_close(found.ess, 1.0 / ((found.variance * 19 + 1.0) / 20))
    one = _summary(torch.randn(1, 3))
    assert one.variance.isnan().all() and (one.bias == 0).all()


def test_impossible_weights_stay_what_they_are() -> None:
    found = _summary(torch.full((100, 1), -math.inf))
    assert found.log_evidence.item() == -math.inf and found.variance.isnan().all()


def test_it_prints_its_k_hat() -> None:
    """One line, with what is known against it."""
    good = Estimate(-3.25, 0.04, details={"k_hat": 0.41})
    assert str(good) == "-3.25 +- 0.04 (k-hat 0.41)" and good.k_hat == 0.41
    assert f"{good:.1f}" == "-3.2 +- 0.0 (k-hat 0.41)"
    assert str(Estimate(-3.25, 0.04, details={"k_hat": 4.9, "unreliable": "k-hat 4.9"})).endswith(
        "(unreliable: k-hat 4.9)"
    )
    assert str(Estimate(-3.25, 0.0, details={"k_hat": -math.inf})) == "-3.25 +- 0"
    assert Estimate(1.0, 0.1).k_hat is None


def test_the_total_says_what_share_of_the_data_is_above(bare_fit, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from jensen.models.factors.linear_gaussian import LinearGaussian

    model = LinearGaussian(3, 2)
    x = model.generate(250, seed=0)["x"]
    model.set_exact_guide()
    with torch.no_grad():
        model.guide_scale = model.guide_scale * 0.35
    found = log_evidence(bare_fit(model, x=x), num_particles=1_000)
    above = found.details["pareto_k"] > k_threshold(1_000)
    assert found.details["share_above"] == pytest.approx(float(above.double().mean()))
    assert found.details["share_above"] > 0.01
    assert f"k-hat above 0.67 for {found.details['share_above']:.0%} of the data" in str(found)
    assert found.k_hat == found.details["pareto_k"].max()
    assert found.value == pytest.approx(found.details["bound"] - found.details["bias"])
    assert found.details["bias"] < 0
