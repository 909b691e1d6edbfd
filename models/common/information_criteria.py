"""Criteria that weigh the likelihood of a model against its number of free parameters."""

from __future__ import annotations

__all__ = ["InformationCriteria"]

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .row_weights import weights_in


class InformationCriteria:
    """Of models fitted to the maximum of an exact likelihood: to choose among numbers of components, states or factors.

    Both are of the data given, with their weights if there are any, at the present parameters, in nats (twice a log
    likelihood): lower is better.
    """

    @property
    def num_free_parameters(self) -> int:
        """P, how many numbers the likelihood may choose."""
        raise NotImplementedError

    def log_evidence(self, data: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError

    def _num_rows(self, data: Mapping[str, Tensor]) -> float | None:
        """What the criterion counts as data, where these are not the terms of the evidence."""
        return None

    @torch.no_grad()
    def bic(self, data: Mapping[str, Tensor]) -> float:
        r"""Bayesian information criterion :math:`P \log N - 2 \log p(x)`; of sequences, N counts their steps.

        Reference: G. Schwarz, *Estimating the Dimension of a Model*, 1978, https://doi.org/10.1214/aos/1176344136
        """
        evidence, times = self._counted(data)
        rows = self._num_rows(data) or times.sum().item()
        return self.num_free_parameters * math.log(rows) - 2 * (times @ evidence).item()

    @torch.no_grad()
    def aic(self, data: Mapping[str, Tensor]) -> float:
        r"""Akaike information criterion :math:`2 P - 2 \log p(x)`.

        Reference: H. Akaike, *A New Look at the Statistical Model Identification*, 1974,
        https://doi.org/10.1109/TAC.1974.1100705
        """
        evidence, times = self._counted(data)
        return 2 * self.num_free_parameters - 2 * (times @ evidence).item()

    def _counted(self, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The evidence of each datum, and how often it counts, ``(N,)``."""
        evidence = self.log_evidence(data)
        times = weights_in(data, evidence)
        return evidence, torch.ones_like(evidence) if times is None else times
