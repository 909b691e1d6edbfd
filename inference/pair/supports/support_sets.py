"""Supports: one inside another, and in words."""

from __future__ import annotations

__all__ = ["base_of", "bounds_of", "covers", "elementary", "prior_support", "support_of", "support_text", "unwrapped"]

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.distributions import constraints, transforms

_BOUNDS: dict[str, tuple[float, float]] = {"_Real": (-math.inf, math.inf), "_SoftplusPositive": (0.0, math.inf)}
_IMAGES: dict[type, Callable[[Any, torch.Tensor], torch.Tensor]] = {  # of a bound, without torch's clips near the ends
    transforms.AffineTransform: lambda step, end: step.loc + step.scale * end,
    transforms.ExpTransform: lambda step, end: end.exp(),
    transforms.PowerTransform: lambda step, end: end.pow(step.exponent),
    transforms.SigmoidTransform: lambda step, end: end.sigmoid(),
    transforms.SoftplusTransform: lambda step, end: torch.nn.functional.softplus(end),
    transforms.TanhTransform: lambda step, end: end.tanh(),
}
_WORDS = {
    "_Simplex": "simplex",
    "_LowerCholesky": "lower Cholesky factors",
    "_SoftplusLowerCholesky": "lower Cholesky factors",
    "_UnitLowerCholesky": "unit lower Cholesky factors",
    "_CorrCholesky": "Cholesky factors of correlations",
    "_CorrMatrix": "correlation matrices",
    "_PositiveDefinite": "positive definite",
    "_PositiveSemidefinite": "positive semidefinite",
    "_OrderedVector": "ordered vectors",
    "_PositiveOrderedVector": "positive ordered vectors",
    "_Sphere": "unit sphere",
    "_OneHot": "one-hot",
    "_Boolean": "{0, 1}",
    "_Multinomial": "counts",
    "_Integer": "integers",
}


def covers(prior: Any, guide: Any) -> bool | None:
    """Whether every point of the support `guide` lies in the support `prior`; None if that is not known."""
    prior, guide = _base(prior), _base(guide)
    if prior.is_discrete != guide.is_discrete:
        return False
    first, second = _bounds(prior), _bounds(guide)
    if first is not None and second is not None:
        slack = _rounding(*first, *second)
        return _at_most(first[0], second[0], slack) and _at_most(second[1], first[1], slack)
    if type(prior) is type(guide):
        return True
    if first is not None and first[0] == -math.inf and first[1] == math.inf and not prior.is_discrete:
        return True
    if second is not None and second[0] == -math.inf and not guide.is_discrete:
        return False  # all reals into a simplex, a triangle, a sphere, …
    return None


def base_of(fn: Any) -> Any:
    """The distribution under what only reshapes or masks it."""
    while type(fn).__name__ in ("Independent", "MaskedDistribution", "ExpandedDistribution"):
        fn = fn.base_dist
    return fn


def support_of(fn: Any) -> Any:
    """The support of a distribution, or None where torch only knows a set around it.

    A transformed distribution's own `support` is the codomain of its last transform (all reals after an affine one), so
    it is computed here by sending the bounds of the base through the transforms.
    """
    fn = base_of(fn)
    if not getattr(fn, "transforms", None):
        return fn.support
    bounds, steps = _bounds(_base(support_of(fn.base_dist))), elementary(fn.transforms)
    if bounds is None or not steps:
        return None
    low, high = (torch.as_tensor(bound, dtype=torch.get_default_dtype()) for bound in bounds)
    for step in steps:
        ends = _IMAGES[type(step)](step, low), _IMAGES[type(step)](step, high)
        low, high = torch.minimum(*ends), torch.maximum(*ends)
    if bool(torch.isnan(low).any() or torch.isnan(high).any()):
        return None
    if bool((high == math.inf).all()):
        return constraints.real if bool((low == -math.inf).all()) else constraints.greater_than(low)
    return constraints.less_than(high) if bool((low == -math.inf).all()) else constraints.interval(low, high)


def prior_support(fn: Any) -> Any:
    """The support that a latent's guide must be on: the true one where it is known, around all of a mixture."""
    support = support_of(fn)
    support = fn.support if support is None else support
    return _base(support) if type(unwrapped(support)).__name__ == "MixtureSameFamilyConstraint" else support


def bounds_of(fn: Any) -> tuple[Any, Any] | None:
    """Lower and upper bound of a distribution's support, where it is a product of intervals."""
    support = support_of(fn)
    return None if support is None else _bounds(_base(support))


def elementary(steps: Any) -> list[Any]:
    """The transforms one after another, if each is elementwise and monotone; else an empty list."""
    found: list[Any] = []
    for step in steps:
        if isinstance(step, transforms.IndependentTransform):
            step = step.base_transform
        parts = elementary(step.parts) if isinstance(step, transforms.ComposeTransform) else [step]
        if not parts or not all(type(part) in _IMAGES for part in parts):
            return []
        found += parts
    return found


def support_text(support: Any) -> str:
    """The support in a word or two."""
    base = _base(support)
    name = type(base).__name__
    if name in _WORDS:
        return _WORDS[name]
    bounds = _bounds(base)
    if bounds is None:
        return name.lstrip("_").lower()
    low, high = (_number(bound) for bound in bounds)
    if base.is_discrete:
        between = ", " if high == "1" else ", …, "
        return f"{{{low}{between}{high}}}" if high not in ("inf", "n") else f"integers >= {low}"
    if (low, high) == ("-inf", "inf"):
        return "real"
    if high == "inf":
        return "positive" if low == "0" else f"> {low}"
    if low == "-inf":
        return f"< {high}"
    return f"({low}, {high})"


def unwrapped(support: Any) -> Any:
    """The constraint of one entry, under `independent`."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _base(support: Any) -> Any:
    support = unwrapped(support)
    return _around(support) if type(support).__name__ == "MixtureSameFamilyConstraint" else support


def _around(mixture: Any) -> Any:
    """The support of a mixture's components; of intervals that differ, the one around them all."""
    base = copy.copy(_base(mixture.base_constraint))
    for name, widest in (("lower_bound", torch.amin), ("upper_bound", torch.amax)):
        bound = getattr(base, name, None)
        if isinstance(bound, torch.Tensor) and bound.dim() > mixture.event_dim:  # (…, components, event)
            setattr(base, name, widest(bound, -1 - mixture.event_dim))
    return base


def _bounds(support: Any) -> tuple[Any, Any] | None:
    """Lower and upper bound of a product of intervals (of integers, if it is discrete), or None for other shapes."""
    name = type(support).__name__
    if name in _BOUNDS:
        return _BOUNDS[name]
    if name == "_Boolean":
        return 0.0, 1.0
    if name in ("_Multinomial", "_OneHot", "_Cat", "_Stack"):
        return None
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if low is None and high is None:
        return None
    return (-math.inf if low is None else low), (math.inf if high is None else high)


def _at_most(first: Any, second: Any, slack: Any) -> bool:
    return bool((torch.as_tensor(first) <= torch.as_tensor(second) + slack).all())


def _rounding(*bounds: Any) -> float | torch.Tensor:
    """What a bound that a transform computes, `loc + scale`, may be off by."""
    sizes = [torch.as_tensor(bound, dtype=torch.get_default_dtype()).detach().abs() for bound in bounds]
    finite = [torch.where(torch.isfinite(size), size, torch.zeros_like(size)).amax() for size in sizes if size.numel()]
    return 4 * torch.finfo(torch.get_default_dtype()).eps * max(finite, default=torch.tensor(0.0))


def _number(bound: Any) -> str:
    if isinstance(bound, torch.Tensor):
        if bound.numel() != 1:
            values = bound.reshape(-1)
            return f"{float(values[0]):g}" if bool((values == values[0]).all()) else "n"
        bound = float(bound)
    return f"{bound:g}"
