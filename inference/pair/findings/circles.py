r"""Circles: a latent that is an angle needs a guide on one turn, for its density repeats itself on the whole line."""

from __future__ import annotations

__all__ = ["CIRCULAR", "check_circle", "is_circular"]

import math
from typing import Any

import torch

from ..supports.support_sets import base_of, bounds_of
from .finding import Finding
from .pair_sites import PairSites, class_name

CIRCULAR = ("VonMises", "SineBivariateVonMises", "SineSkewed", "WrappedNormal")
"""Names of distributions over angles."""

_TURN = 2 * math.pi


def is_circular(fn: Any) -> bool:
    """Whether a distribution is one over angles whose density has period 2 pi on the whole line."""
    base = base_of(fn)
    if type(base).__name__ in CIRCULAR:
        return True
    if type(base).__module__.startswith(("torch.", "pyro.", "jensen.")):
        return False
    try:  # somebody's own distribution: ask its density
        if bounds_of(base) != (-math.inf, math.inf):
            return False
        value = torch.zeros(base.shape()) + 0.25
        here, turned, aside = (base.log_prob(value + by) for by in (0.0, _TURN, 1.0))
    except (NotImplementedError, RuntimeError, ValueError, TypeError, AttributeError):
        return False
    return torch.allclose(here, turned, rtol=1e-4, atol=1e-4) and not torch.allclose(here, aside, rtol=1e-3, atol=1e-3)


def check_circle(pair: PairSites, name: str) -> Finding | None:
    """A guide on the line counts every turn of the circle anew, so that its bound has no end."""
    p, q = pair.model[name]["fn"], pair.guide[name]["fn"]
    if not is_circular(p) or is_circular(q):
        return None
    if class_name(q) == "Delta":
        if name in pair.still:
            return None
    elif (bounds := bounds_of(q)) is not None:
        low, high = (torch.as_tensor(bound, dtype=torch.get_default_dtype()) for bound in bounds)
        if bool((high - low <= _TURN * (1 + 1e-5)).all()):
            return None
    kind = class_name(p)
    return Finding(
        "circle",
        name,
        f"`{name}` is an angle: the density of its {kind} repeats itself with every turn, and the guide draws it on "
        f"the whole line, where that density has no finite mass. Bounds and evidences would grow with its scale.",
        f'Use the guide "normal", which wraps a normal around the circle; or sample `{name}` in the guide from a '
        f"VonMises, or from a distribution on (-pi, pi).",
    )
