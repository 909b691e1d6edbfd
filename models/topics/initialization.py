"""A start for topics: clusters of documents by the angles between their tf-idf vectors."""

from __future__ import annotations

__all__ = ["document_start"]

import torch
from torch import Tensor
from torch.nn import functional

from ..common.kmeans import seeds


@torch.no_grad()
def document_start(
    x: Tensor, num_topics: int, seed: int, *, own: float = 0.7, iterations: int = 10, max_rows: int = 5_000
) -> Tensor:
    r"""Expected counts of each word in each topic, ``(K, V)``, if clusters of documents were topics.

    Each document gives the share `own` of its words to its cluster, and the rest to all topics alike. The clusters are
    those of spherical k-means from a k-means++ start (for each centre the best of four draws), all by matrix products.
    With fewer documents than topics the shares are random. Documents without words are left out.

    Args:
        x: counts, ``(N, V)``; of more than `max_rows` rows a random sample is used.
        num_topics: K.
        seed: of the start; the global random state is left alone.
        own: share of a document's own cluster, in (0, 1).
        iterations: of k-means.
        max_rows: the most rows used.

    Reference: I. Dhillon and D. Modha, *Concept Decompositions for Large Sparse Text Data Using Clustering*, 2001,
    https://doi.org/10.1023/A:1007612920971
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    filled = x.sum(-1) > 0
    x = x if bool(filled.all()) else x[filled]
    size = len(x)
    if size > max_rows:
        x = x[torch.randperm(size, generator=generator)[:max_rows].to(x.device)]
    if len(x) > num_topics:
        nearest = _clusters(x, num_topics, generator, iterations)
        shares = own * functional.one_hot(nearest, num_topics).to(x.dtype) + (1 - own) / num_topics
    else:
        drawn = torch.rand(len(x), num_topics, generator=generator, dtype=torch.float64).to(x) + 0.1
        shares = drawn / drawn.sum(-1, keepdim=True)
    return shares.mT @ x * (size / len(x))


def _clusters(x: Tensor, num: int, generator: torch.Generator, iterations: int) -> Tensor:
    """The cluster of each document, ``(N,)``."""
    rarity = ((1 + len(x)) / (1 + (x > 0).sum(0))).log() + 1e-3
    directions = functional.normalize(x.sqrt() * rarity, dim=-1)
    centres = directions[seeds(lambda rows: (1 - directions @ directions[rows].mT).clamp_min(0), x, num, generator)]
    for _ in range(iterations):
        nearest = (directions @ centres.mT).argmax(-1)
        members = functional.one_hot(nearest, num).to(x.dtype)
        sums = functional.normalize(members.mT @ directions, dim=-1)
        centres = torch.where(members.sum(0)[:, None] > 0, sums, centres)
    return (directions @ centres.mT).argmax(-1)
