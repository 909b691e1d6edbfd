"""Terms of a fit on all its data, piece by piece, with the same global draws for every piece of the data."""

from __future__ import annotations

__all__ = ["DependsOnData", "Piece", "pieces", "plan"]

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...pair.site_terms import Terms
from ...pair.terms import evaluate
from .chunking import Chunks, chunk_seed, measure_cost, plan_chunks
from .scoring import Scored


class DependsOnData(Exception):
    """The density of a global latent changes with the rows in the batch: the data cannot be cut into pieces."""


@dataclass(frozen=True)
class Piece:
    """The terms of `particles` particles on `rows` of the data; `first` and `last` of the data of these particles."""

    terms: Terms
    particles: int
    rows: slice
    first: bool
    last: bool


def plan(scored: Scored, num_particles: int, max_bytes: int, *, slices: bool, inner: int = 1, **options: Any) -> Chunks:
    """Pieces within `max_bytes`, where a particle is `inner` draws of the local latents.

    Args:
        slices: whether the data may be cut.
        options: of :func:`jensen.inference.pair.terms.evaluate`.
    """

    def run(k: int, rows: slice) -> Terms:
        return evaluate(scored.program, scored.rows(rows if slices else None), num_particles=k, seed=0, **options)

    size = scored.size if slices else 1
    chunks = plan_chunks(measure_cost(run, num_particles, size).of_repeated(inner), num_particles, size, max_bytes)
    return chunks if slices else Chunks(chunks.particles, scored.size, num_particles, scored.size)


def pieces(scored: Scored, chunks: Chunks, *, seed: int, inner: int = 1, **options: Any) -> Iterator[Piece]:
    """All pieces, data within particles. With `inner` > 1, each global draw is repeated for that many local ones.

    Raises:
        DependsOnData: if the global terms of the same draws differ between pieces of the data.
    """
    for i, k in chunks.over_particles():
        drawn: dict[str, Tensor] | None = None
        common: Tensor | None = None
        for j, rows in chunks.over_data():
            batch = scored.rows(rows)
            if inner > 1 and drawn is None:
                first = evaluate(scored.program, batch, num_particles=k, seed=chunk_seed(seed, i), **options)
                drawn = {name: value.repeat_interleave(inner, 0) for name, value in global_draws(first).items()}
            at = chunk_seed(seed, i, j)
            terms = evaluate(scored.program, batch, num_particles=k * inner, seed=at, values=drawn, **options)
            drawn = global_draws(terms) if drawn is None else drawn
            weight = terms.log_weight_global
            if weight is not None:
                if common is not None and not torch.allclose(weight, common, rtol=1e-4, atol=1e-3, equal_nan=True):
                    raise DependsOnData
                common = weight
            yield Piece(terms, k, rows, j == 0, rows.stop == chunks.data_size)


def global_draws(terms: Terms) -> dict[str, Tensor]:
    """The draws of the global latents. Images of other draws (`Delta`) are left out: they are computed anew."""
    sites = terms.structure.sites
    return {
        name: value
        for name, value in terms.values.items()
        if not sites[name].local and sites[name].guide_distribution != "Delta"
    }
