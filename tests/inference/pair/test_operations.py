"""A program of thousands of operations is told of by a fit, with the sites of its loop; others are not."""

from __future__ import annotations

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import SVI
from jensen.inference.pair.operations import said_of_operations


def walk(y: torch.Tensor) -> None:
    """A local level with a site for every step."""
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    level = torch.zeros(())
    for t in range(y.shape[-1]):
        level = pyro.sample(f"level_{t}", dist.Normal(level, scale))
        pyro.sample(f"y_{t}", dist.Normal(level, 1.0), obs=y[..., t].squeeze())


def _fit(length: int) -> list[str]:
    y = torch.randn(1, length, generator=torch.Generator().manual_seed(0)).cumsum(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SVI(guide="normal", start="prior", steps=3, compile="trace", progress=False).fit(walk, {"y": y})
    return [str(warning.message) for warning in caught]


def test_a_fit_of_a_long_loop_says_so_once() -> None:
    (said,) = _fit(60)
    assert "operations, which is a Python loop" in said
    assert "60 sites, `level_0`, `level_1`, …" in said or "60 sites, `y_0`, `y_1`, …" in said
    assert "docs/how-to/recursions.md" in said


def test_a_fit_of_a_short_one_says_nothing() -> None:
    assert _fit(5) == []


@pytest.mark.parametrize("sites", [[], ["w", "b"], [f"layer_{i}" for i in range(5)]])
def test_no_sites_are_named_where_no_loop_makes_any(sites: list[str]) -> None:
    assert "here" not in said_of_operations(2_000, sites) and "2,000 operations" in said_of_operations(2_000, sites)
