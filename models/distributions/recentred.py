"""A distribution whose unconstrained origin is at a chosen place: where default guides and samplers start."""

from __future__ import annotations

__all__ = ["Recentred"]

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints, kl_divergence, register_kl, transform_to
from torch.distributions.transforms import ComposeTransform, Transform


class _AnchoredSupport(constraints.Constraint):
    """The same set as `base`, reached from unconstrained space by another bijection."""

    def __init__(self, base: constraints.Constraint, move: Callable[[], Transform]) -> None:
        self.base, self.move = base, move
        self.event_dim = base.event_dim
        inner = base
        while isinstance(inner, constraints.independent):
            inner = inner.base_constraint
        real = inner is constraints.real
        self.lower_bound = -math.inf if real else getattr(inner, "lower_bound", None)
        self.upper_bound = math.inf if real else getattr(inner, "upper_bound", None)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return self.base.check(value)


@biject_to.register(_AnchoredSupport)
@transform_to.register(_AnchoredSupport)
def _(constraint: _AnchoredSupport) -> Transform:
    return ComposeTransform([biject_to(constraint.base), constraint.move()])


class Recentred(ExpandedDistribution):
    r"""The same density, with the support's bijection :math:`G \circ T` in place of :math:`T`.

    Autoguides start where the unconstrained value is zero, and samplers within a few units of it. For components of a
    mixture that would be one place for all, in no relation to the data's units; G moves zero to a typical value of
    each. Nothing else depends on it.

    Args:
        base: any distribution.
        move: returns G, a bijection of the support onto itself. It is asked whenever a bijection is needed: as a method
            of the model it reads buffers where they are then, in whatever precision.
    """

    def __init__(self, base: Any, move: Callable[[], Transform]) -> None:
        super().__init__(base, base.batch_shape)
        self.move = move

    @property
    def support(self) -> _AnchoredSupport:
        return _AnchoredSupport(self.base_dist.support, self.move)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Recentred:
        if torch.Size(batch_shape) == self.batch_shape:
            return super().expand(batch_shape)  # also what the constructor asks
        return Recentred(self.base_dist.expand(batch_shape), self.move)


@register_kl(Distribution, Recentred)
@register_kl(dist.Delta, Recentred)
def _kl_anchored(q: Distribution, p: Recentred) -> Tensor:
    return kl_divergence(q, p.base_dist)
