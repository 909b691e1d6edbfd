r"""What a Hessian says at a mode: the normal of its inverse, its determinant, and directions without curvature.

Every decision is made on :math:`C = D^{-1/2} H D^{-1/2}`, with D the absolute diagonal of H, so that no latent's unit
matters.
"""

from __future__ import annotations

__all__ = ["STRUCTURES", "Curvature", "structured"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

STRUCTURES = ("full", "block", "diagonal")

_ROUNDING = 100 * torch.finfo(torch.float64).eps


def structured(hessian: Tensor, sizes: Sequence[int], structure: str) -> Tensor:
    """The Hessian ``(D, D)`` without the entries that a structure leaves out.

    Args:
        hessian: of all latents.
        sizes: how many numbers each latent has, for the blocks.
        structure: one of `STRUCTURES`.
    """
    if structure == "diagonal":
        return hessian.diagonal().diag()
    if structure == "block":
        parts = [hessian[end - size : end, end - size : end] for size, end in zip(sizes, _ends(sizes), strict=True)]
        return torch.block_diag(*parts)
    return hessian


def _ends(sizes: Sequence[int]) -> list[int]:
    return torch.tensor(sizes).cumsum(0).tolist()


class Curvature:
    """The Hessian of minus a log density at one point.

    Args:
        hessian: H, ``(D, D)``.
        spread: ``(D,)`` of the prior, what stands for a unit where there is no curvature.

    Attributes:
        factor: the Cholesky factor of C, ``(D, D)``; None where H is not positive definite beyond rounding.
    """

    def __init__(self, hessian: Tensor, spread: Tensor) -> None:
        diagonal = hessian.diagonal().abs()
        self.roots = torch.where(diagonal > 0.0, diagonal, spread.square().reciprocal()).sqrt()
        self.scaled = hessian / self.roots / self.roots.unsqueeze(-1)
        self.finite = bool(torch.isfinite(self.scaled).all())
        self.values: Tensor = self.roots
        self.vectors: Tensor = self.scaled
        if self.finite:
            self.values, self.vectors = torch.linalg.eigh(self.scaled)
        self.least = _ROUNDING * len(spread)
        self.factor: Tensor | None = None
        if self.finite and float(self.values[0]) > self.least:
            factor, failed = torch.linalg.cholesky_ex(self.scaled)
            self.factor = None if int(failed) else factor

    @property
    def log_det(self) -> float:
        r""":math:`\log \det H`."""
        assert self.factor is not None
        return 2.0 * float(self.factor.diagonal().log().sum() + self.roots.log().sum())

    @property
    def scale_tril(self) -> Tensor:
        r"""The Cholesky factor of :math:`H^{-1}`, ``(D, D)``."""
        assert self.factor is not None
        inverse = torch.cholesky_inverse(self.factor) / self.roots / self.roots.unsqueeze(-1)
        deviations = inverse.diagonal().sqrt()
        return torch.linalg.cholesky(inverse / deviations / deviations.unsqueeze(-1)) * deviations.unsqueeze(-1)

    def newton_step(self, gradient: Tensor) -> tuple[Tensor, float]:
        r""":math:`H^{-1} g`, ``(D,)``, and its length :math:`\sqrt{g^\top H^{-1} g}` in sds of the normal."""
        assert self.factor is not None
        scaled = gradient / self.roots
        step = torch.cholesky_solve(scaled.unsqueeze(-1), self.factor).squeeze(-1)
        return step / self.roots, math.sqrt(max(float(scaled @ step), 0.0))

    def flattest(self) -> tuple[Tensor, float]:
        """The direction of least curvature, ``(D,)``, and its eigenvalue of C."""
        return self.vectors[:, 0] / self.roots, float(self.values[0])

    def axes(self) -> Tensor:
        """Steps of one standard deviation along the eigenvectors of C, ``(D, D)``, one a row."""
        return (self.vectors / self.values.clamp(min=self.least).sqrt()).mT / self.roots
