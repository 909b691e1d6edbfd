"""Pieces: they cover everything once, fit in the memory that was given, and have seeds of their own."""

from __future__ import annotations

import pytest
import torch

from jensen.inference.diagnostics.weights.chunking import Cost, chunk_seed, measure_cost, peak_bytes, plan_chunks
from jensen.inference.errors import ConfigurationError


@pytest.mark.parametrize("cost", [Cost(0.0, 0.0, 100.0), Cost(5.0, 3_000.0, 40.0), Cost(1e3, 0.0, 8.0)])
@pytest.mark.parametrize(("particles", "data"), [(1, 1), (5_000, 1), (1, 777), (5_000, 10_000), (7, 13)])
@pytest.mark.parametrize("max_bytes", [5_000, 10**6, 10**9])
def test_pieces_cover_everything_and_fit(cost: Cost, particles: int, data: int, max_bytes: int) -> None:
    chunks = plan_chunks(cost, particles, data, max_bytes)
    assert sum(k for _, k in chunks.over_particles()) == particles
    rows = [i for _, s in chunks.over_data() for i in range(s.start, s.stop)] if data < 1_000 else None
    assert rows is None or rows == list(range(data))
    assert max(k for _, k in chunks.over_particles()) == chunks.particles
    if (chunks.particles, chunks.data) != (1, 1):
        assert cost(chunks.particles, chunks.data) <= max_bytes


def test_a_budget_too_small_gives_the_smallest_piece() -> None:
    chunks = plan_chunks(Cost(0.0, 0.0, 100.0), 3, 4, 10)
    assert (chunks.particles, chunks.data) == (1, 1)


def test_particles_are_kept_together_where_they_fit() -> None:
    assert plan_chunks(Cost(0.0, 1e6, 100.0), 100, 50, 2 * 10**7).particles == 100


def test_seeds_are_distinct_and_stable() -> None:
    seeds = {chunk_seed(s, i, j) for s in range(5) for i in range(10) for j in range(10)}
    assert len(seeds) == 500
    assert all(0 <= s < 2**63 for s in seeds)
    assert chunk_seed(3, 1, 2) == chunk_seed(3, 1, 2)
    places = [(), (0,), (0, 0), (0, 0, 0), (1,), (1, 0), (0, 1), (10,), (1, 0, 0)]
    assert len({chunk_seed(seed, *place) for seed in (0, 1, 10) for place in places}) == 3 * len(places)
    assert chunk_seed(5 * 2**32 + 3, 7) != chunk_seed(3, 5, 7), "a large seed is not a small one and an index"
    with pytest.raises(ConfigurationError, match="`seed` must be a non-negative integer, got -1"):
        chunk_seed(-1)


def test_peak_counts_what_is_alive_together() -> None:
    def run(n: int) -> torch.Tensor:
        a = torch.ones(n, dtype=torch.float64)
        b = a + 1  # a, b
        del a
        c = (b * 2)[: n // 2]  # b, c; a view costs nothing
        return c

    assert peak_bytes(run, 1_000) == 2 * 8_000


def test_cost_is_measured_exactly_for_a_bilinear_program() -> None:
    weight = torch.ones(3, 5, dtype=torch.float64)

    def run(k: int, rows: slice) -> torch.Tensor:
        b = rows.stop - rows.start
        encoded = torch.ones(b, 3, dtype=torch.float64) @ weight  # (3 + 5) B
        draws = torch.ones(k, 1, 1, dtype=torch.float64)  # K
        return encoded * draws  # 5 K B

    cost = measure_cost(run, 100, 100)
    assert (cost.per_particle, cost.per_pair) == (8.0, 40.0)
    assert cost.per_datum in (40.0, 64.0)  # the input of the product may be freed by then
    assert measure_cost(run, 1, 1)(1, 1) >= 40.0
    assert measure_cost(run, 100, 1)(100, 1) >= 100 * 40.0
    assert measure_cost(run, 1, 100)(1, 100) >= 100 * 40.0
