"""Closed forms take data of any kind, and refuse those of another model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from jensen.inference import CAVI
from jensen.models import (
    PPCA,
    BayesianGaussianMixture,
    BayesianLogisticRegression,
    FactorAnalysis,
    GaussianMixture,
    LinearGaussian,
    MultinomialMixture,
    PoissonMixture,
)

COUNTS = torch.tensor([[3, 0, 1], [0, 2, 2], [1, 1, 5], [4, 0, 0], [2, 2, 2], [0, 1, 6]])


def closed_forms() -> dict[str, Callable[[Any], Any]]:
    """Every closed form that takes data, as a function of the data."""
    models = [GaussianMixture(2, 3), GaussianMixture(2, 3, "diagonal"), PoissonMixture(2, 3), MultinomialMixture(2, 3)]
    models += [FactorAnalysis(3, 1), PPCA(3, 1), LinearGaussian(3, 1)]
    names = ("log_evidence", "predict", "bic", "aic", "e_step", "exact_posterior", "impute", "set_optimum", "log_joint")
    found = {
        f"{index} {type(model).__name__}.{name}": getattr(model, name)
        for index, model in enumerate(models)
        for name in names
        if hasattr(model, name)
    }
    guide = BayesianGaussianMixture(2, 3).coordinate_guide({"x": COUNTS}, 0)
    return found | {f"coordinates.{name}": getattr(guide, name) for name in ("predict", "log_predictive", "update")}


def numbers(value: Any) -> list[Any]:
    """What a closed form returned, as a flat list."""
    if isinstance(value, dict):
        value = [getattr(law, "logits", law.mean) for law in value.values()]
    elif hasattr(value, "__dict__"):
        value = list(vars(value).values())
    if isinstance(value, tuple | list):
        return [number for item in value for number in numbers(item)]
    return [] if value is None else torch.as_tensor(value).detach().flatten().tolist()


@pytest.mark.parametrize("name", closed_forms())
def test_the_kind_of_the_data_does_not_matter(name: str) -> None:
    torch.manual_seed(1)
    expected = numbers(closed_forms()[name]({"x": COUNTS.float()}))
    for data in ({"x": COUNTS.double()}, {"x": COUNTS}, {"x": COUNTS.numpy()}, {"x": COUNTS.tolist()}, COUNTS.float()):
        torch.manual_seed(1)
        assert numbers(closed_forms()[name](data)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", closed_forms())
def test_another_number_of_columns_is_refused(name: str) -> None:
    for columns in (COUNTS[:, :1], COUNTS[:, 0], torch.cat([COUNTS, COUNTS], 1)):
        with pytest.raises(ValueError, match=r"`x` must have shape \(N, 3\)"):
            closed_forms()[name]({"x": columns.float()})


def test_what_is_no_data_is_refused() -> None:
    model = GaussianMixture(2, 3)
    with pytest.raises(ValueError, match=r"`data` must hold 'x', got \['z'\]"):
        model.predict({"z": COUNTS})
    with pytest.raises(TypeError, match="`x` must hold numbers, got ndarray"):
        model.predict({"x": np.array([["a", "b", "c"]])})
    with pytest.raises(ValueError, match="`x` must hold counts"):
        PoissonMixture(2, 3).log_evidence({"x": COUNTS + 0.5})


def test_logistic_regression_takes_data_of_any_kind() -> None:
    x, y = torch.randn(20, 2), torch.arange(20) % 2
    model = BayesianLogisticRegression(2)
    fit = CAVI(steps=5).fit(model, {"x": x, "y": y})
    draws = {"w": torch.randn(4, 2), "intercept": torch.randn(4)}
    expected, bound = model.probabilities(x, **draws), fit.guide.update({"x": x, "y": y})
    for kind in (torch.Tensor.double, torch.Tensor.numpy, torch.Tensor.tolist):
        torch.testing.assert_close(model.probabilities(kind(x), **draws), expected)
        assert fit.guide.update({"x": kind(x), "y": kind(y)}) == pytest.approx(bound.item(), rel=1e-3)
    for call in (lambda x: model.probabilities(x, **draws), lambda x: fit.guide.update({"x": x, "y": y})):
        with pytest.raises(ValueError, match=r"`x` must have shape \(N, 2\)"):
            call(x[:, :1])
