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
        return self.loc + noise @ self.scale_tril.mT, self._log_density(noise)

    def log_prob(self, u: Tensor) -> Tensor:
        """Log density ``(M,)`` of ``u (M, D)``."""
        return self._log_density(torch.linalg.solve_triangular(self.scale_tril, (u - self.loc).mT, upper=False).mT)

    def _log_density(self, noise: Tensor) -> Tensor:
        """Of what the noise ``(M, D)`` is mapped to, ``(M,)``."""
        log_det = self.scale_tril.diagonal().log().sum()
        return -0.5 * noise.square().sum(-1) - log_det - 0.5 * noise.shape[-1] * math.log(2 * math.pi)
