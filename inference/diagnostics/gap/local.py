"""The gaps of data that have distributions of their own in the guide, piece by piece."""

from __future__ import annotations

__all__ = ["LocalGaps", "local_gaps"]

from dataclasses import dataclass

import torch
from torch import Tensor

from ...pair.program import Program
from ...pair.terms import evaluate
from ...tensors import Batch
from ..weights.chunking import chunk_seed, return_free_memory
from ..weights.pieces import plan
from ..weights.scoring import Scored, random_sites
from .factors import Factors
from .paired import DatumGaps, gaps_of
from .refine import Refined, refine

_STEP_DRAWS, _LOOK_DRAWS = 16, 200
_WITH_GRADIENTS = 3  # memory of a step to that of an evaluation


@dataclass(frozen=True)
class LocalGaps:
    """What was found on all data.

    Attributes:
        gaps: of each datum.
        constant: what bound and evidence have besides the data's: factors of the parameters alone.
        refined: of all pieces together: the most steps, whether all converged, the mean gain.
    """

    gaps: DatumGaps
    constant: float
    refined: Refined


def local_gaps(pair: Scored, *, seed: int, num_particles: int, steps: int, max_bytes: int) -> LocalGaps:
    """Refine the guide on each piece of the data, and weigh the draws of both."""
    chunks = plan(pair, _STEP_DRAWS, max(max_bytes // _WITH_GRADIENTS, 1), slices=pair.sliceable)
    factors = Factors(pair.program, random_sites(pair.structure))
    found: list[DatumGaps] = []
    ends: list[tuple[int, Refined]] = []
    constant = 0.0
    for j, rows in chunks.over_data():
        batch, at = pair.rows(rows), chunk_seed(seed, j)
        structure = pair.program.structure(batch)
        factors.read(batch, structure)
        refined = refine(factors, batch, steps=steps, num_particles=chunks.particles, num_checked=_LOOK_DRAWS, seed=at)
        most = _WITH_GRADIENTS * chunks.particles
        own, constant = _log_weights(pair.program, batch, num_particles, most, at)
        best, _ = _log_weights(factors.program, batch, num_particles, most, at)
        found.append(gaps_of(own, best))
        ends.append((rows.stop - rows.start, refined))
        return_free_memory()
    size = sum(count for count, _ in ends)
    together = Refined(
        max(end.steps for _, end in ends),
        all(end.converged for _, end in ends),
        sum(count * end.gain for count, end in ends) / size,
    )
    return LocalGaps(DatumGaps.joined(found), constant, together)


def _log_weights(program: Program, batch: Batch, num_particles: int, most: int, seed: int) -> tuple[Tensor, float]:
    """``(K, B)`` in float64, and the factor of the parameters alone; the same noise for the same seed."""
    parts, constant = [], 0.0
    for i, start in enumerate(range(0, num_particles, most)):
        count = min(most, num_particles - start)
        terms = evaluate(program, batch, num_particles=count, seed=chunk_seed(seed, i))
        assert terms.log_weight_local is not None
        parts.append(terms.log_weight_local.double())
        if terms.log_weight_global is not None:
            constant = float(terms.log_weight_global[0])
    return torch.cat(parts), constant
