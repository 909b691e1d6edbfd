"""Cholesky factors with a floor under their diagonal, so that no fitted covariance can become singular."""

from __future__ import annotations

__all__ = ["FlooredCholesky"]

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints, transform_to
from torch.distributions.transforms import Transform


class FlooredCholesky(constraints.Constraint):
    r"""Lower-triangular matrices with :math:`L_{ii} > \epsilon_i`: :math:`\det L L^\top > \prod_i \epsilon_i^2`.

    Args:
        owner: the model, whose `floor` :math:`\epsilon`, ``(D,)`` or a number in the units of a standard deviation, is
            asked for whenever the constraint is used.
    """

    event_dim = 2

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def check(self, value: Tensor) -> Tensor:
        """Whether each matrix is lower triangular with its diagonal above the floor."""
        lower = (value.tril() == value).flatten(-2).all(-1)
        return lower & (value.diagonal(dim1=-2, dim2=-1) > self.owner.floor).all(-1)


class _FlooredCholeskyTransform(Transform):
    """Unconstrained square matrices to `FlooredCholesky`: exponential of the diagonal plus the floor."""

    domain = constraints.independent(constraints.real, 2)
    bijective = False

    def __init__(self, constraint: FlooredCholesky) -> None:
        super().__init__()
        self.codomain = self._constraint = constraint

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + torch.diag_embed(x.diagonal(dim1=-2, dim2=-1).exp() + self._constraint.owner.floor)

    def _inverse(self, y: Tensor) -> Tensor:
        excess = (y.diagonal(dim1=-2, dim2=-1) - self._constraint.owner.floor).clamp_min(torch.finfo(y.dtype).tiny)
        return y.tril(-1) + torch.diag_embed(excess.log())


@transform_to.register(FlooredCholesky)
def _(constraint: FlooredCholesky) -> Transform:
    return _FlooredCholeskyTransform(constraint)
