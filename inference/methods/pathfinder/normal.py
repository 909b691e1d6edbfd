"""A normal approximation in unconstrained space, as the path holds it."""

from __future__ import annotations

__all__ = ["Normal"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normal:
    r""":math:`\mathcal N(\mu, L L^\top)`.

    Attributes:
        loc: ``(D,)``.
        scale_tril: L, ``(D, D)``.
    """

    loc: Tensor
    scale_tril: Tensor

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Draws ``(M, D)`` of standard noise ``(M, D)``, and their log densities ``(M,)``."""
        dim = noise.shape[-1]
        log_det = self.scale_tril.diagonal().log().sum()
        log_q = -0.5 * noise.square().sum(-1) - log_det - 0.5 * dim * math.log(2 * math.pi)
        return self.loc + noise @ self.scale_tril.mT, log_q

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density ``(M,)`` of ``u (M, D)``."""
        noise = torch.linalg.solve_triangular(self.scale_tril, (u - self.loc).mT, upper=False)
        log_det = self.scale_tril.diagonal().log().sum()
        return -0.5 * noise.square().sum(0) - log_det - 0.5 * len(self.loc) * math.log(2 * math.pi)
