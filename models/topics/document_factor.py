"""The factors of documents in latent Dirichlet allocation: their fixed point, the topics being given."""

from __future__ import annotations

__all__ = ["document_factor", "expected_log"]

import torch
from torch import Tensor

from ..common.sparse_counts import SparseCounts


def expected_log(concentration: Tensor) -> Tensor:
    r""":math:`\mathbb E \log \theta` of a Dirichlet over the last dimension."""
    return concentration.digamma() - concentration.sum(-1, keepdim=True).digamma()


def document_factor(
    counts: SparseCounts,
    words: Tensor,
    alpha: float,
    iterations: int = 200,
    tolerance: float = 1e-3,
    start: Tensor | None = None,
) -> Tensor:
    r"""The best :math:`q(\theta_n) = \mathrm{Dirichlet}(\gamma_n)` given the topics, ``(N, K)``, by the fixed point

    .. math:: \gamma_{nk} = \alpha + \sum_v x_{nv} \phi_{nvk}, \qquad
        \phi_{nvk} \propto b_{kv} \exp \mathbb E \log \theta_{nk}.

    Args:
        counts: of the documents.
        words: :math:`b_{kv}`, the words' probabilities or :math:`\exp \mathbb E \log \beta_{kv}`, ``(K, V)``; a
            word's may all be scaled alike.
        alpha: concentration of the prior.
        iterations: the most to make.
        tolerance: a document is at rest when its :math:`\gamma` moves by less than this on average over topics, in
            words. The bound falls short by the square of what is left.
        start: of :math:`\gamma`, ``(N, K)``; None for all topics alike.
    """
    num_topics = len(words)
    gamma = (alpha + counts.totals / num_topics)[:, None].expand(-1, num_topics) if start is None else start
    words = words.mT.contiguous().mT  # the layout of the products
    result, rows = gamma, torch.arange(len(gamma), device=gamma.device)  # of all, and which are not at rest
    for step in range(iterations):
        weights = expected_log(gamma).exp()
        shares = counts.values / counts.products(weights, words).clamp_min(torch.finfo(words.dtype).tiny)
        before, gamma = gamma, alpha + weights * counts.rows_sum(shares, words)
        if step % 4 == 3:
            moving = (gamma - before).abs().mean(-1) >= tolerance
            left = int(moving.sum())
            if left == 0:
                break
            if left <= len(rows) // 2:
                result = result.index_copy(0, rows, gamma)
                rows, gamma, counts = rows[moving], gamma[moving], counts.of_rows(moving)
    return result.index_copy(0, rows, gamma)
