"""Parts the models share: the floored Cholesky factor and the k-means start."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from sklearn.cluster import KMeans
from torch.distributions import transform_to

from jensen.models.common.constraints import FlooredCholesky
from jensen.models.common.kmeans import kmeans


def test_floored_cholesky_round_trip():
    torch.manual_seed(0)
    constraint = FlooredCholesky(SimpleNamespace(floor=0.2))
    factor = transform_to(constraint)(torch.randn(3, 4, 4).double())
    assert constraint.check(factor).all()
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0.2).all()
    again = transform_to(constraint)(transform_to(constraint).inv(factor))
    torch.testing.assert_close(again, factor)
    assert not constraint.check(0.1 * torch.eye(4))
    assert not constraint.check(torch.ones(4, 4))


def test_kmeans_is_as_good_as_scikit_learn():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(60, 3) + 6 * torch.randn(3) for _ in range(6)]).double()
    centres, rows, cluster = kmeans(x, 6, seed=0, iterations=50)
    cost = (rows - centres[cluster]).square().sum().item()
    reference = KMeans(6, n_init=10, random_state=0).fit(x.numpy()).inertia_
    assert cost <= 1.5 * reference
    assert centres.shape == (6, 3)


def test_kmeans_bounds_its_work_and_survives_repeats():
    centres, rows, _ = kmeans(torch.randn(300, 2), 3, seed=0, max_rows=100)
    assert len(rows) == 100
    centres, _, cluster = kmeans(torch.ones(10, 2), 3, seed=0)  # fewer distinct points than clusters
    assert torch.isfinite(centres).all()
    assert len(cluster) == 10
    with pytest.raises(ValueError, match="needs at least as many rows"):
        kmeans(torch.ones(2, 2), 3, seed=0)
