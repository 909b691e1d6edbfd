"""Where chains begin, and R-hat of many short ones: silent where they agree, loud where some stay apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from jensen.inference.methods.mcmc.chees_sampler import _equal_parts
from jensen.inference.methods.mcmc.convergence import chains_verdict
from jensen.inference.methods.mcmc.starts import find_starts
from jensen.inference.methods.pathfinder.normal import Normal
from jensen.inference.methods.pathfinder.path import PathResult


def slow(chains: int, count: int, seed: int = 0) -> np.ndarray:
    """Stationary first-order autoregressions of coefficient 0.8, each of an effective size of a ninth of its length."""
    rng = np.random.default_rng(seed)
    found = np.empty((chains, count))
    found[:, 0] = rng.standard_normal(chains)
    for i in range(1, count):
        found[:, i] = 0.8 * found[:, i - 1] + 0.6 * rng.standard_normal(chains)
    return found


def test_many_short_chains_that_agree_have_converged() -> None:
    draws = {"z": slow(64, 200)}
    assert chains_verdict(draws, 0).status == "not converged"  # each of them is short, and nothing else
    verdict = chains_verdict(draws, 0, 8)
    assert verdict.status == "converged", verdict.reason


def test_starts_that_stay_apart_have_not() -> None:
    shifted = slow(64, 200) + 0.5 * (np.arange(64) % 8 == 3)[:, None]
    verdict = chains_verdict({"z": shifted}, 0, 8)
    assert verdict.status == "not converged"
    assert "modes" in verdict.advice
    drifting = slow(64, 200) + np.linspace(0.0, 1.0, 200)
    assert chains_verdict({"z": drifting}, 0, 8).status == "not converged"


def test_a_stuck_chain_is_seen() -> None:
    draws = slow(64, 200)
    draws[17] = 3.0 + 1e-3 * draws[17]
    assert chains_verdict({"z": draws}, 0, 8).status == "not converged"


def test_half_of_the_chains_in_another_mode_are_seen() -> None:
    """As many from each start: the starts agree, and the effective sample size does not."""
    draws = slow(64, 200) + 20.0 * (np.arange(64) // 8 % 2)[:, None]
    assert chains_verdict({"z": draws}, 0, 8).status == "not converged"


def test_one_start_a_chain_is_what_it_was() -> None:
    draws = {"z": slow(4, 500)[..., None]}
    assert chains_verdict(draws, 0, 4) == chains_verdict(draws, 0)


@pytest.mark.parametrize(
    ("chains", "starts"), [(64, 8), (256, 8), (60, 6), (50, 5), (100, 5), (8, 4), (13, None), (5, None), (4, None)]
)
def test_paths_are_shared_equally(chains: int, starts: int | None) -> None:
    assert _equal_parts(chains) == starts


def test_no_chain_begins_where_there_is_next_to_nothing(float64: None) -> None:
    """A path into the neck of a funnel has a bound far below the others; one into another mode has not."""
    bounds = {0.0: -31.0, 5.0: -44.0, -20.0: -87.0, 9.0: None}

    class Given:
        starts = [torch.tensor([place]) for place in bounds]  # noqa: RUF012

        def follow(self, start: torch.Tensor) -> PathResult | None:
            bound = bounds[float(start)]
            normal = Normal(start, torch.tensor([[0.01]]))
            return None if bound is None else PathResult(normal, bound, 0.1, 5, True)

        def log_density(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return -u.square().sum(-1), -2.0 * u

    target: Any = Given()
    found = find_starts(target, 8, 0)
    assert np.abs(found.u[:, 0] - np.array([0.0, 5.0, 0.0, 0.0] * 2)).max() < 0.1
    assert len(np.unique(found.u)) == 8
    assert found.scale_tril.tolist() == [[0.01]]
