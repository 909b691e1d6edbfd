"""The terms ``log p`` and ``log q`` of every site, for K particles on one mini-batch."""

from __future__ import annotations

__all__ = ["SiteTerms", "Terms"]

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..tensors import Tensors
from .sites import Structure


@dataclass(frozen=True)
class SiteTerms:
    """The terms of one site, or of a group of sites whose discrete latents were summed out.

    Attributes:
        name: the site's name; ``"a*b"`` for the group that was summed over ``a`` and ``b``.
        kind: ``"observed"``, ``"latent"``, ``"auxiliary"``, or ``"marginal"`` for such a group.
        local: whether the terms are ``(K, B)`` rather than ``(K,)``.
        log_p: log density under the model, or None (auxiliary sites).
        log_q: log density under the guide, or None (observed sites, and where `kl` replaces it).
        kl: the analytic ``KL(q || p)``, or None where it must be estimated from the draw.
        weight: what the program itself scales the site by (1 unless it uses `poutine.scale`).
        reparameterized: whether the guide's draw carries the pathwise gradient (True for observed sites).
        kl_dims, log_p_dims, log_q_dims: the same per event dimension ``(…, L)``, when asked for and available.
        score: log density of the whole draw, where a mask hides a part of `log_q`: what the score function takes, for
            masked values may be used.
        mask: ``(K, *batch shape)`` which of a latent's values count, where a mask hides some.
    """

    name: str
    kind: str
    local: bool
    log_p: torch.Tensor | None
    log_q: torch.Tensor | None
    kl: torch.Tensor | None = None
    weight: torch.Tensor | float = 1.0
    reparameterized: bool = True
    kl_dims: torch.Tensor | None = None
    log_p_dims: torch.Tensor | None = None
    log_q_dims: torch.Tensor | None = None
    score: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    @property
    def log_ratio(self) -> torch.Tensor:
        """``log p - log q`` of the draw, or ``-KL`` where that is analytic."""
        if self.kl is not None:
            return -self.kl
        if self.log_q is None:
            assert self.log_p is not None
            return self.log_p
        return -self.log_q if self.log_p is None else self.log_p - self.log_q


@dataclass(frozen=True)
class Terms:
    """All terms of `K` particles on one mini-batch.

    Attributes:
        sites: the terms, by name.
        values: the latent draws ``(K, *site shape)``, by name.
        structure: the pair's static structure.
        num_particles: `K`.
        scale: ``N / B`` as set by the `minibatch` messenger (1.0 outside of one). The terms do not contain it.
        share: the part of the global terms that this process accounts for (1 / world size in a data-parallel run).
        row_weight: ``(B,)`` how often each datum counts, for a model that names its `row_weight`; None for once. The
            terms do not contain it.
    """

    sites: dict[str, SiteTerms]
    values: Tensors
    structure: Structure
    num_particles: int
    scale: float = 1.0
    share: float = 1.0
    hooks: dict[str, Any] = field(default_factory=dict)
    row_weight: torch.Tensor | None = None

    def weighted(self, local: torch.Tensor) -> torch.Tensor:
        """Local terms ``(K, B)`` or ``(B,)``, each datum's times its weight."""
        return local if self.row_weight is None else local * self.row_weight

    def _sum(self, local: bool, part: Callable[[SiteTerms], torch.Tensor | None]) -> torch.Tensor | None:
        total: torch.Tensor | None = None
        for site in self.sites.values():
            term = part(site) if site.local == local else None
            if term is not None:
                total = term if total is None else total + term
        return total

    @property
    def log_weight_local(self) -> torch.Tensor | None:
        """``(K, B)``: the sum over local sites of ``log p - log q``, unscaled; None without local sites."""
        return self._sum(True, lambda site: site.log_ratio)

    @property
    def log_weight_global(self) -> torch.Tensor | None:
        """``(K,)``: the sum over global sites of ``log p - log q``; None without global sites."""
        return self._sum(False, lambda site: site.log_ratio)

    @property
    def log_likelihood(self) -> torch.Tensor | None:
        """``(K, B)``: the sum of the local observed (or marginalised) sites' ``log p``, unscaled."""
        return self._sum(True, lambda site: site.log_p if site.kind in ("observed", "marginal") else None)
