r"""Gaps of each datum, from the log weights that two guides have on draws of the same noise.

With :math:`w_{0k}` and :math:`w_{1k}` the weights of draw k under the guide's own distribution and the best one,

.. math:: \widehat{\mathcal L}_j = \frac1K \sum_k \log w_{jk}, \qquad
   \log \hat p = \log \frac1K \sum_k w_{jk} - \text{bias},

for the j whose k-hats are better. An error of a gap is that of the difference of what both have on the same draw (to
first order :math:`w_{jk} / \bar w_j - \log w_{ik}` for that of :math:`\log \hat p - \widehat{\mathcal L}_i`), so that
noise that both share cancels, and a guide that is the posterior has gaps of zero without an error. What heavy tails add
to the error of :math:`\log \hat p` (`weights/log_mean.py`) is added.
"""

from __future__ import annotations

__all__ = ["DatumGaps", "gaps_of"]

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..weights.importance import WeightSummary


@dataclass(frozen=True)
class DatumGaps:
    """Of each datum ``(B,)``, in nats: means and, under the same names, squared errors.

    Attributes:
        bounds: of the guide's own distribution, and of the best one if there is one.
        evidence: the estimate with each of these proposals.
        k_hat: of each proposal's weights.
        bound_error, evidence_error: likewise.
        gap_error: ``[proposal][bound]``, of the evidence by that proposal less that bound.
        between_error: of the second bound less the first.
    """

    bounds: list[Tensor]
    evidence: list[Tensor]
    k_hat: list[Tensor]
    bound_error: list[Tensor]
    evidence_error: list[Tensor]
    gap_error: list[list[Tensor]]
    between_error: Tensor

    @staticmethod
    def joined(parts: list[DatumGaps]) -> DatumGaps:
        """Those of all pieces of the data, one after the other."""

        def rows(name: str) -> list[Tensor]:
            return [torch.cat(column) for column in zip(*(getattr(part, name) for part in parts), strict=True)]

        count = len(parts[0].bounds)
        errors = [[torch.cat([p.gap_error[i][j] for p in parts]) for j in range(count)] for i in range(count)]
        between = torch.cat([part.between_error for part in parts])
        names = ("bounds", "evidence", "k_hat", "bound_error", "evidence_error")
        columns: dict[str, Any] = {name: rows(name) for name in names}
        return DatumGaps(**columns, gap_error=errors, between_error=between)


def gaps_of(*log_weights: Tensor) -> DatumGaps:
    """The gaps from one or two ``(K, B)`` of log weights, draw by draw of the same noise."""
    columns = [weights.double() for weights in log_weights]
    k = len(columns[0])
    summaries, relative = [], []
    for weights in columns:
        summary = WeightSummary(k)
        summary.update(weights)
        found = summary.finish()
        summaries.append(found)
        relative.append((weights - found.log_mean).exp())

    def error(value: Tensor) -> Tensor:
        return (value.var(0) / k).cpu() if k > 1 else torch.full(value.shape[1:], torch.nan, dtype=value.dtype)

    errors = []
    for found, share in zip(summaries, relative, strict=True):
        tails = (found.variance.cpu() - error(share)).clamp(min=0.0)
        errors.append([error(share - weights) + tails for weights in columns])
    return DatumGaps(
        [weights.mean(0).cpu() for weights in columns],
        [found.log_evidence.cpu() for found in summaries],
        [found.pareto_k.cpu() for found in summaries],
        [error(weights) for weights in columns],
        [found.variance.cpu() for found in summaries],
        errors,
        error(columns[-1] - columns[0]),
    )
