"""Log masses: those of a discrete distribution are never above 0."""

from __future__ import annotations

__all__ = ["above_zero", "check_masses"]

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..densities.site_densities import log_prob_of
from ..supports.membership import inside
from .finding import Finding
from .observed import is_checked
from .pair_sites import PairSites, class_name

_ROUNDING = 1e-2  # nats, of a sum of many terms


def check_masses(pair: PairSites) -> Iterator[Finding]:
    """A log mass above 0 is rounding that has taken over, or no mass at all."""
    for name, site in pair.model.items():
        if not _is_discrete(site["fn"]) or (site["is_observed"] and not is_checked(site)):
            continue
        try:
            known = inside(site["fn"], site["value"])
            if known is not None and not bool(known[0].all()):
                continue  # the values are at fault
            with torch.no_grad():
                most = log_prob_of({**site, "precise": True})
        except (NotImplementedError, RuntimeError, ValueError, IndexError):
            continue
        finding = above_zero(name, class_name(site["fn"]), most)
        if finding is not None:
            yield finding


def above_zero(name: str, kind: str, log_mass: Tensor) -> Finding | None:
    """The finding for a discrete site whose log mass is above 0 somewhere."""
    if not log_mass.numel() or not bool((most := log_mass.max()) > _ROUNDING):
        return None
    why = "its distribution is not normalised"
    cure = "Add its constants to `log_prob`, so that its masses sum to one."
    if log_mass.dtype != torch.float64:
        why = f"its {kind} is a small difference of numbers that are large for {str(log_mass.dtype)[6:]}, or {why}"
        cure = f"Fit with `dtype=torch.float64`, or write its `log_prob` by functions that do not cancel. {cure}"
    return Finding(
        "impossible-mass",
        name,
        f"The log mass of `{name}` reaches {float(most):g}, above 0, which no discrete distribution can: {why}.",
        cure,
    )


def _is_discrete(fn: Any) -> bool:
    try:
        return bool(fn.support.is_discrete)
    except NotImplementedError:
        return False
