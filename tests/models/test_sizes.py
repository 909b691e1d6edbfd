"""Sizes are whole numbers and scales are numbers: anything else is named at construction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from jensen.models import (
    PPCA,
    VAE,
    BayesianGaussianMixture,
    BayesianLogisticRegression,
    GaussianMixture,
    LatentDirichletAllocation,
    MultinomialMixture,
    PoissonMixture,
)


@pytest.mark.parametrize("value", [2.5, 2.0, np.float64(2.0), torch.tensor(2.0)])
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("num_components", lambda size: GaussianMixture(size, 2)),
        ("num_features", lambda size: PoissonMixture(2, size)),
        ("num_components", lambda size: BayesianGaussianMixture(size, 2)),
        ("total_count", lambda size: MultinomialMixture(2, 2, total_count=size)),
        ("latent_dim", lambda size: PPCA(4, size)),
        ("num_topics", lambda size: LatentDirichletAllocation(size, 30)),
        ("num_classes", lambda size: BayesianLogisticRegression(2, num_classes=size)),
        ("latent_dim", lambda size: VAE((4,), size)),
    ],
)
def test_a_size_that_is_not_whole_is_refused(name: str, build: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name}.*` must be a whole number, at least 1, got"):
        build(value)


@pytest.mark.parametrize("value", [2, np.int64(2), torch.tensor(2)])
def test_whole_numbers_of_any_kind_are_sizes(value: Any) -> None:
    assert GaussianMixture(value, 3).means.shape == (2, 3)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="`num_components` must be a positive number, got the text '3'"):
        GaussianMixture("3", 2)
    with pytest.raises(TypeError, match=r"`alpha` must be a positive number, got \[0.1, 0.2\] of type list"):
        LatentDirichletAllocation(2, 30, alpha=[0.1, 0.2])
    with pytest.raises(TypeError, match="`min_scale` must be a positive number, got None of type NoneType"):
        GaussianMixture(2, 2, min_scale=None)
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"`num_components` must be positive, got {value}"):
            GaussianMixture(value, 2)
    with pytest.raises(ValueError, match="`min_scale` must be positive, got nan"):
        GaussianMixture(2, 2, min_scale=float("nan"))
