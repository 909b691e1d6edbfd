"""Which entries of a value lie in the support of a distribution."""

from __future__ import annotations

__all__ = ["belongs", "inside"]

from typing import Any

import torch
from torch import Tensor

from .support_sets import base_of, elementary, unwrapped


def inside(fn: Any, value: Tensor) -> tuple[Tensor, int] | None:
    """Which entries of `value` the distribution `fn` can take; None if that is not known.

    A transformed distribution's own `support` is the codomain of its last transform (all reals after a shift), so a
    value is sent back through the transforms, as far as these are elementary.

    Returns:
        A bool of the value's shape (broadcast with the bounds) without its last dimensions that are judged as one, and
        the number of these: 0 where entries are judged one by one, also under `.to_event(…)`, 1 for a simplex, 2 for a
        matrix.
    """
    fn = base_of(fn)
    try:
        steps = elementary(getattr(fn, "transforms", ()))
        if not steps:
            return belongs(fn.support, value), int(unwrapped(fn.support).event_dim)
        good = torch.ones_like(value, dtype=torch.bool)
        for step in reversed(steps):
            good = good & belongs(step.codomain, value)
            value = step.inv(value)
        below, joint = inside(fn.base_dist, value) or (good, 0)
        return (good.flatten(good.dim() - joint).all(-1) if joint else good) & below, joint
    except (NotImplementedError, RuntimeError, ValueError):
        return None


def belongs(support: Any, value: Tensor) -> Tensor:
    """Whether a value satisfies a constraint, entry by entry; a simplex sums to one as far as it was written down."""
    support = unwrapped(support)
    kind = type(support).__name__
    if kind == "MixtureSameFamilyConstraint":  # one component that can take the value is enough
        part = unwrapped(support.base_constraint)
        some = belongs(part, value.unsqueeze(-1 - support.event_dim))
        together = support.event_dim - part.event_dim
        return (some.flatten(some.dim() - together).all(-1) if together else some).any(-1)
    if kind == "_Simplex":
        near = 1e-5 + 5e-7 * value.shape[-1]  # shares written with six decimals
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < near)
    if kind == "_Multinomial":
        return torch.as_tensor(support.check(value)) & (value == value.round()).all(-1)
    return torch.as_tensor(support.check(value))
