"""Purchases: sizes, law of the counts, and both kinds of volume."""

from __future__ import annotations

import math

import pytest
import torch

from jensen.datasets import purchases


def test_counts_have_the_segments_rates():
    data = purchases(20_000, seed=1, dtype=torch.float64)
    x, segment, truth = data.train["x"], data.truth["assignment"], data.truth
    assert x.shape == (20_000, len(data.feature_names))
    assert len(data.target_names) == len(truth["weights"]) == 5
    assert torch.equal(x, x.round()) and (x >= 0).all()
    for k in range(5):
        rows = x[segment == k]
        error = (truth["rates"][k] / len(rows)).sqrt()
        assert ((rows.mean(0) - truth["rates"][k]).abs() < 5 * error).all()
        assert rows.sum(1).var() / rows.sum(1).mean() == pytest.approx(1.0, abs=0.15)
    torch.testing.assert_close(truth["tastes"].sum(1), torch.ones(5, dtype=torch.float64))
    share = torch.bincount(segment) / 20_000
    torch.testing.assert_close(share.double(), truth["weights"], atol=0.02, rtol=0)


def test_volumes_vary_within_a_segment():
    data = purchases(20_000, volume_spread=0.6, dtype=torch.float64)
    x, segment = data.train["x"], data.truth["assignment"]
    rows = x[segment == 0]
    assert rows.sum(1).mean() == pytest.approx(60, rel=0.05)
    assert rows.sum(1).var() == pytest.approx(60 + 60**2 * math.expm1(0.36), rel=0.15)
    torch.testing.assert_close(rows.sum(0) / rows.sum(), data.truth["tastes"][0], atol=3e-3, rtol=0)


def test_seeds_and_bad_arguments():
    assert torch.equal(purchases(50, seed=3).train["x"], purchases(50, seed=3).train["x"])
    assert not torch.equal(purchases(50, seed=3).train["x"], purchases(50, seed=4).train["x"])
    with pytest.raises(ValueError, match="`num_customers`: expected a positive number"):
        purchases(0)
    with pytest.raises(ValueError, match="`volume_spread`: expected 0 or more"):
        purchases(10, volume_spread=-1)
