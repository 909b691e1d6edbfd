"""Starts for mixtures: k-means++ seeds, and a few Lloyd iterations from them."""

from __future__ import annotations

__all__ = ["kmeans", "seeds"]

from collections.abc import Callable

import torch
from torch import Tensor

from .precision import wide


@torch.no_grad()
def kmeans(
    x: Tensor,
    num_clusters: int,
    seed: int,
    *,
    unit: Tensor | None = None,
    iterations: int = 10,
    candidates: int = 4,
    max_rows: int = 50_000,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Locally minimise :math:`\sum_n \min_c \lVert (x_n - \mu_c) / s \rVert^2` from a k-means++ start, in float64.

    Args:
        x: data, ``(N, D)``; of more than `max_rows` rows a random sample is used.
        num_clusters: C.
        seed: of the start; the global random state is left alone.
        unit: s, what counts as one in each column, ``(D,)`` or ``()``; None for one.
        iterations: Lloyd iterations after the start.
        candidates: draws tried for each new centre, of which the best is kept.
        max_rows: the most rows used.

    Returns:
        Centres ``(C, D)``, the rows used ``(M, D)`` and their cluster ``(M,)``.

    Raises:
        ValueError: there are fewer rows than clusters.

    Reference: D. Arthur and S. Vassilvitskii, *k-means++: The Advantages of Careful Seeding*, 2007,
    https://dl.acm.org/doi/10.5555/1283383.1283494
    """
    if len(x) < num_clusters:
        raise ValueError(f"`num_components` = {num_clusters} needs at least as many rows of data, got {len(x)}.")
    generator = torch.Generator().manual_seed(seed)
    if len(x) > max_rows:
        x = x[torch.randperm(len(x), generator=generator)[:max_rows].to(x.device)]
    x = wide(x)
    unit = torch.ones((), dtype=x.dtype, device=x.device) if unit is None else unit.to(x.dtype)
    centres, cluster = _clusters(x / unit, num_clusters, generator, iterations, candidates)
    return centres * unit, x, cluster


def seeds(
    distances: Callable[[list[int] | Tensor], Tensor],
    x: Tensor,
    num: int,
    generator: torch.Generator,
    candidates: int = 4,
) -> list[int]:
    """The rows of `x` that k-means++ chooses as centres: for each the best of a few draws, by their distance.

    Args:
        distances: of all N rows to some of them, by their numbers: ``(N, m)``, not negative.
        x: ``(N, …)``.
        num: how many to choose.
        generator: of the draws.
        candidates: draws for each after the first.
    """
    chosen = [int(torch.randint(len(x), (), generator=generator))]
    nearest = distances(chosen)[:, 0]
    for _ in range(num - 1):
        chance = nearest.double().cpu() + torch.finfo(torch.float64).tiny
        tried = torch.multinomial(chance, min(candidates, len(x)), replacement=True, generator=generator).to(x.device)
        closer = torch.minimum(nearest[:, None], distances(tried))
        best = closer.sum(0).argmin()
        chosen.append(int(tried[best]))
        nearest = closer[:, best]
    return chosen


def _clusters(
    x: Tensor, num_clusters: int, generator: torch.Generator, iterations: int, candidates: int
) -> tuple[Tensor, Tensor]:
    """Centres ``(C, D)``, and the cluster of each row."""
    centres = x[seeds(lambda chosen: _squared_distances(x, x[chosen]), x, num_clusters, generator, candidates)]
    assignment = _squared_distances(x, centres).argmin(1)
    for _ in range(iterations):
        counts = torch.bincount(assignment, minlength=num_clusters).to(x.dtype)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, assignment, x)
        centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
        assignment = _squared_distances(x, centres).argmin(1)
    return centres, assignment


def _squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distances, ``(N, C)``."""
    return torch.stack([(x - centre).square().sum(1) for centre in centres], 1)
