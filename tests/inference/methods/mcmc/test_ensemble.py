"""One transition of all chains leaves their target as it is, and says how it went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jensen.inference.methods.mcmc.ensemble import step_of_half, together
from jensen.inference.step.leapfrog_graph import LeapfrogGraph

Density = Callable[[Tensor], tuple[Tensor, Tensor]]


def heavy(u: Tensor) -> tuple[Tensor, Tensor]:
    """Student's t of five degrees of freedom, in each number."""
    return -3.0 * torch.log1p(u**2 / 5.0).sum(1), -6.0 * u / (5.0 + u**2)


def graph(density: Density, chains: int, dim: int = 2) -> LeapfrogGraph:
    class Given:
        eagerly = staticmethod(density)

    given: Any = Given()
    return LeapfrogGraph(given, torch.ones(dim, dtype=torch.float64), chains)


def noise(chains: int, seed: int, dim: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(chains, dim, generator=generator, dtype=torch.float64)
    return p, torch.rand(chains, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("leapfrogs", [1, 5])
@pytest.mark.parametrize("step", [0.3, 1.4])
def test_a_transition_leaves_the_target_as_it_is(leapfrogs: int, step: float) -> None:
    """Starts are exact draws; so must their successors be, however wrong the leapfrog steps are."""
    import numpy as np
    from scipy.stats import kstest, t

    starts = torch.from_numpy(np.random.default_rng(0).standard_t(5, size=(4_000, 2)))
    made = graph(heavy, 4_000)
    ended = together(made, made.at(starts), step, leapfrogs, *noise(4_000, 1), True)
    found = ended.motion.v
    moved = (found != starts).any(1)
    assert 0.2 < float(moved.double().mean()) <= 1.0
    assert kstest(found.reshape(-1).numpy(), t(5).cdf).pvalue > 1e-3
    assert kstest((found[:, 0] + found[:, 1]).numpy(), (starts[:, 0] - starts[:, 1]).numpy()).pvalue > 1e-3
    value, gradient = heavy(found)
    assert torch.allclose(ended.motion.value, value)
    assert torch.allclose(ended.motion.gradient, gradient)
    assert float(moved.double().mean()) == pytest.approx(float(ended.acceptance.mean()), abs=0.03)


def test_what_is_told_is_the_harmonic_mean_of_acceptances() -> None:
    made = graph(heavy, 50)
    p, uniform = noise(50, 3)
    ended = together(made, made.at(p.flip(0)), 1.0, 3, p, uniform, True)
    assert ended.told is not None
    assert float(ended.told[0]) == pytest.approx(float(1.0 / (1.0 / ended.acceptance).mean()))
    assert together(made, made.at(p), 1.0, 3, p, uniform, False).told is None


def test_chains_without_a_value_stay_and_are_divergent() -> None:
    def cliff(u: Tensor) -> tuple[Tensor, Tensor]:
        inside = u.abs().max(1).values < 2.0
        return torch.where(inside, 0.0, torch.nan).double(), torch.zeros_like(u)

    made = graph(cliff, 3)
    start = made.at(torch.zeros(3, 2, dtype=torch.float64))
    p = torch.tensor([[0.5, 0.5], [9.0, 0.0], [0.0, -9.0]], dtype=torch.float64)
    ended = together(made, start, 1.0, 1, p, torch.full((3,), 0.5, dtype=torch.float64), True)
    assert ended.diverged.tolist() == [False, True, True]
    assert ended.acceptance.tolist() == [1.0, 0.0, 0.0]
    assert ended.motion.v.tolist() == [[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]]
    assert ended.told is not None
    assert bool(ended.told.isfinite().all())
    assert float(ended.told[0]) < 1e-9


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_first_step_is_as_long_as_the_target_is_wide(scale: float) -> None:
    def scaled(u: Tensor) -> tuple[Tensor, Tensor]:
        return -0.5 * ((u / scale) ** 2).sum(1), -u / scale**2

    made = graph(scaled, 16, 4)
    p, _ = noise(16, 0, 4)
    start = made.at(scale * p.flip(0))
    assert 0.25 * scale < step_of_half(made, start, 1.0, p) < 8.0 * scale
