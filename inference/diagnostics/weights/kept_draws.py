"""Draws of the global latents, and the likelihoods that they give each datum, beside their importance weights."""

from __future__ import annotations

__all__ = ["KeptDraws"]

import torch
from torch import Tensor

from ...pair.site_terms import Terms


class KeptDraws:
    """Collects log weights ``(K,)`` and the draws ``(K, *shape)`` of the global continuous latents that have them.

    Args:
        most: numbers kept; of more latents nothing is.
        pointwise: whether each datum's log likelihood is kept too, and no draws.
    """

    def __init__(self, most: int = 20_000_000, pointwise: bool = False) -> None:
        self.most, self.pointwise = most, pointwise
        self.clear()

    def clear(self) -> None:
        """Forget what was collected."""
        self.held = 0
        self._weights: list[Tensor] = []
        self._draws: dict[str, list[Tensor]] = {}
        self._rows: list[Tensor] = []
        self._likelihoods: list[Tensor] = []

    def add_rows(self, log_likelihood: Tensor | None) -> None:
        """Take in ``(K, B)`` of a piece of the particles on a piece of the data, data within particles."""
        if self.pointwise and log_likelihood is not None:
            self._rows.append(log_likelihood.double().cpu())

    def add(self, log_weights: Tensor, terms: Terms, inner: int) -> None:
        """Take in a piece of the particles; each of its draws is repeated `inner` times."""
        self._weights.append(log_weights)
        if self.pointwise:
            self._likelihoods += [torch.cat(self._rows, 1)] if self._rows else []
            self._rows = []
            return
        for site in terms.structure.select("latent", local=False):
            if site.enumerated or site.support.is_discrete or site.name not in terms.values:
                continue
            value = terms.values[site.name][::inner].detach()
            self.held += value.numel()
            if self.held > self.most:
                self._draws.clear()
                return
            self._draws.setdefault(site.name, []).append(value)

    @property
    def log_weights(self) -> Tensor:
        """``(K,)``."""
        return torch.cat(self._weights)

    @property
    def log_likelihood(self) -> Tensor | None:
        """``(K, N)``; None where no datum has one, or none was kept."""
        return torch.cat(self._likelihoods) if self._likelihoods else None

    @property
    def draws(self) -> dict[str, Tensor]:
        """By latent; empty where nothing was kept."""
        whole = self.held <= self.most and bool(self._weights)
        return {name: torch.cat(parts) for name, parts in self._draws.items()} if whole else {}
