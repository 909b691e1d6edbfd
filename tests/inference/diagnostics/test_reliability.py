"""What importance weights say of a guide's means and sds: against closed forms, and on fits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from jensen.inference import SVI, Pathfinder, load, pareto_k
from jensen.inference.diagnostics.reliability import Reliability, judge_moments
from jensen.inference.diagnostics.weights.moments import Moments, weighted_moments
from jensen.inference.diagnostics.weights.pareto import psis_k
from jensen.inference.diagnostics.weights.smoothed import smoothed_weights

_DRAWS = 4_000


def _moments(loc: float, scale: float, draws: int = _DRAWS) -> Moments:
    """Of the guide N(0, 1) for the posterior N(loc, scale^2), beside a number that both know."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(draws, 2, generator=generator, dtype=torch.float64)
    log_weights = -0.5 * ((z[:, 0] - loc) / scale) ** 2 - math.log(scale) + 0.5 * z[:, 0] ** 2
    return weighted_moments(log_weights, {"w": z[:, 0], "v": z[:, 1:]})


def _verdict(loc: float, scale: float) -> Reliability:
    return judge_moments(_moments(loc, scale), _DRAWS)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.15), (0.2, 0.9), (0.4, 1.0)])
def test_the_errors_of_a_normal_are_found(loc: float, scale: float) -> None:
    found = _moments(loc, scale)
    assert found.names == ["w", "v[0]"]
    assert abs(float(found.shift[0]) + loc / scale) < 4 * float(found.shift_error[0])
    assert abs(float(found.log_ratio[0]) + math.log(scale)) < 4 * float(found.log_ratio_error[0])
    assert abs(float(found.shift[1])) < 4 * float(found.shift_error[1])


def test_verdicts() -> None:
    near, narrow, beside = _verdict(0.05, 1.02), _verdict(0.0, 1.5), _verdict(0.5, 1.0)
    assert near.reliable and near.k_hat < 0.7
    assert not narrow.reliable and narrow.k_weights < 0.7
    assert (narrow.quantity, narrow.number) == ("sd", "w") and narrow.error == pytest.approx(1 / 1.5, rel=0.1)
    assert "the sd of `w` is 1." in narrow.reason
    assert not beside.reliable and (beside.quantity, beside.number) == ("mean", "w")
    assert "above the guide's" in beside.reason
    far = _verdict(0.0, 4.0)
    assert not far.reliable and far.quantity == "k-hat" and far.k_hat > far.threshold == 0.7


def test_an_exact_guide_is_reliable() -> None:
    found = _verdict(0.0, 1.0)
    assert found.reliable and found.k_hat == -math.inf


def test_squares_have_heavier_tails_than_weights() -> None:
    """Weights x^(1/k) of a uniform draw have the tail index k; squares of a number like it have a larger one."""
    u = torch.rand(_DRAWS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_weights = -0.3 * u.log()
    found = weighted_moments(log_weights, {"h": u ** (-0.3)})
    assert found.k_weights == pytest.approx(0.3, abs=0.15)
    assert float(found.k[0]) > found.k_weights + 0.3


def test_smoothing_keeps_the_order_and_bounds_the_largest() -> None:
    u = torch.rand(1_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_weights = -0.6 * u.log()
    plain = torch.softmax(log_weights, 0)
    smooth = smoothed_weights(log_weights)
    assert float(smooth.sum()) == pytest.approx(1.0)
    assert bool((smooth[plain.argsort()].diff() >= 0).all())
    share = plain / smooth
    body = plain.argsort()[:-100]
    torch.testing.assert_close(share[body], share[body][:1].expand(len(body)))  # the body is only normalised
    quantiles = (1 - (torch.arange(1, 6, dtype=torch.float64) - 0.5) / 5) ** (-0.6)
    assert bool((quantiles > 0).all()) and float(psis_k(log_weights)) == pytest.approx(0.6, abs=0.25)


def _line(x: Tensor, y: Tensor) -> None:
    a = pyro.sample("a", dist.Normal(0.0, 100.0))
    b = pyro.sample("b", dist.Normal(0.0, 100.0))
    s = pyro.sample("s", dist.HalfCauchy(5.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(a + b * x, s), obs=y)


_FEW = {"x": torch.arange(4.0), "y": torch.tensor([10.1, 11.9, 14.2, 15.8])}


def _fit(rows: int = 4, **options: Any) -> Any:
    x = torch.arange(float(rows))
    y = 10.0 + 2.0 * x + 0.3 * torch.randn(rows, generator=torch.Generator().manual_seed(0))
    options = {"guide": "multivariate_normal", "steps": 200, "progress": False, "device": "cpu"} | options
    return SVI(**options).fit(_line, {"x": x, "y": y})


def test_a_fit_of_few_rows_says_that_it_is_unreliable(tmp_path: Path) -> None:
    fit = _fit(4)
    check = fit.info["reliability"]
    assert not check["reliable"] and "unreliable" in str(fit) and check["reason"] in str(fit)
    score = pareto_k(fit)
    assert "unreliable" in str(score) and score.value >= max(check["k_hat"], float(score.details["pareto_k"]))
    saved = load(fit.save(tmp_path / "fit"), model=_line)
    assert saved.info["reliability"] == check


def test_a_fit_of_many_rows_says_that_it_is_reliable() -> None:
    fit = _fit(200, steps=1_000)
    check = fit.info["reliability"]
    assert check["reliable"] and check["k_hat"] < 0.7 and check["reason"] in str(fit)
    assert "unreliable" not in str(fit) and "unreliable" not in str(pareto_k(fit))


def test_a_run_that_goes_on_says_the_same(tmp_path: Path) -> None:
    first = _fit_kept(tmp_path)
    again = _fit_kept(tmp_path)
    assert first.info["reliability"] == again.info["reliability"] == _fit(10).info["reliability"]


def _fit_kept(folder: Path) -> Any:
    x = torch.arange(10.0)
    y = 10.0 + 2.0 * x + 0.3 * torch.randn(10, generator=torch.Generator().manual_seed(0))
    svi = SVI(guide="multivariate_normal", steps=200, progress=False, device="cpu")
    return svi.fit(_line, {"x": x, "y": y}, checkpoint=folder)


def test_pathfinder_is_checked_and_point_masses_are_not() -> None:
    assert "reliability" in Pathfinder(progress=False, device="cpu").fit(_line, _FEW).info
    from pyro.infer.autoguide import AutoDelta

    assert "reliability" not in _fit(4, guide=AutoDelta).info
