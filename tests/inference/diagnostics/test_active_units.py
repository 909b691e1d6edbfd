"""active_units: the variance of the guide's mean, free of Monte Carlo noise, and the count."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from jensen.inference.diagnostics import active_units
from jensen.inference.errors import ConfigurationError, ModelError
from jensen.models.factors.linear_gaussian import LinearGaussian
from jensen.models.regression.linear_regression import BayesianLinearRegression

Make = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("float64")


def _fit(bare_fit: Make, gains: list[float], size: int = 400) -> Any:
    """Unit u of the guide has mean gains[u] * x_u, with x_u ~ N(0, 1), and standard deviation 1."""
    n = len(gains)
    model = LinearGaussian(n, n, posterior="diagonal")
    with torch.no_grad():
        model.guide_weight.copy_(torch.diag(torch.tensor(gains)))
    return bare_fit(model, x=torch.randn(size, n))


@pytest.mark.parametrize("max_bytes", [None, 100_000])
def test_counts_units_whose_mean_moves(bare_fit: Make, max_bytes: int | None) -> None:
    gains = [0.0, 0.03, 0.5, 0.0, 1.0, 0.2]
    fit = _fit(bare_fit, gains)
    e = active_units(fit, max_bytes=max_bytes)
    assert e.value == 3 and e.details["count"] == {"z": 3}
    assert e.details["active"]["z"].tolist() == [False, False, True, False, True, True]
    expected = fit.data["x"].var(0) * torch.tensor(gains) ** 2
    error = (e.details["variance"]["z"] - expected).abs()
    assert (error < 5 * 2 * (0.01 / 400) ** 0.5 * (torch.tensor(gains) + 0.1)).all()
    assert e.stderr < 0.05


def test_noise_of_the_draws_is_taken_off(bare_fit: Make) -> None:
    """With 4 draws a dead unit's mean has variance 1/4, far above the threshold."""
    e = active_units(_fit(bare_fit, [0.0] * 5, size=3_000), num_particles=4)
    z = e.details["variance"]["z"] / e.details["variance_stderr"]["z"]
    assert z.abs().max() < 4
    assert e.details["variance_stderr"]["z"] == pytest.approx(0.25 * (2 / 3_000) ** 0.5, rel=0.5)


def test_standard_error_says_when_a_unit_is_close(bare_fit: Make) -> None:
    e = active_units(_fit(bare_fit, [0.1, 0.0, 1.0]))
    assert 0.1 < e.stderr <= 0.5
    assert active_units(_fit(bare_fit, [0.1, 0.0, 1.0]), threshold=0.5).value == 1


def test_details_are_json(bare_fit: Make) -> None:
    json.dumps(active_units(_fit(bare_fit, [0.0, 1.0])).to_dict())


def test_bad_arguments(bare_fit: Make) -> None:
    fit = bare_fit(BayesianLinearRegression(2), lambda x, y=None: None, x=torch.randn(10, 2), y=torch.randn(10))
    with pytest.raises(ModelError):
        active_units(fit)
    with pytest.raises(ConfigurationError, match="`num_particles` must be an integer of at least 2, got 1"):
        active_units(_fit(bare_fit, [1.0]), num_particles=1)
    with pytest.raises(ConfigurationError, match=r"`len\(data\)` must be an integer of at least 2, got 1"):
        active_units(_fit(bare_fit, [1.0], size=1))
    model = BayesianLinearRegression(2)

    def guide(x: Any, y: Any = None) -> None:
        import pyro

        pyro.sample("w", pyro.distributions.Normal(torch.zeros(2), 1.0).to_event(1))

    with pytest.raises(ModelError, match='`active_units` needs a continuous latent in the plate "data"'):
        active_units(bare_fit(model, guide, x=torch.randn(10, 2), y=torch.randn(10)))
