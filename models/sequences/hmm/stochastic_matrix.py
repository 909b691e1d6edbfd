"""Probabilities some of which may be zero for good."""

from __future__ import annotations

__all__ = ["SparseSimplex", "is_deterministic", "is_left_to_right", "keep_zeros"]

import torch
from torch import Tensor
from torch.distributions import constraints, transform_to
from torch.distributions.transforms import SoftmaxTransform, Transform

_LOW = -1e6  # its exponential is zero in every floating-point type, whatever the row's other entries


class SparseSimplex(constraints.Constraint):
    """Rows that sum to one. A zero stays zero: before the softmax it is so low that no gradient reaches it."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        """Whether each row is a distribution."""
        return constraints.simplex.check(value)


class _ChancesTransform(SoftmaxTransform):
    """The softmax; its inverse is finite also at zero, as every parameter of a fit must be."""

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log().clamp_min(_LOW)


@transform_to.register(SparseSimplex)
def _(constraint: SparseSimplex) -> Transform:
    return _ChancesTransform()


@torch.no_grad()
def is_deterministic(chances: Tensor) -> bool:
    """Whether every row has one chance, so that there is nothing to learn. One read on the host."""
    return bool(((chances > 0).sum(-1) == 1).all())


@torch.no_grad()
def is_left_to_right(transition: Tensor) -> bool:
    """Whether states are never left for an earlier one: left to right. One read on the host."""
    return len(transition) > 1 and bool((transition.tril(-1) == 0).all())


def keep_zeros(start: Tensor, present: Tensor) -> Tensor:
    """The rows of `start`, positive throughout, without what is zero at present."""
    kept = torch.where(present > 0, start.to(present), 0.0)
    return kept / kept.sum(-1, keepdim=True)
