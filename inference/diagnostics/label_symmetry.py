"""Whether the components of an enumerated model can swap their labels, and whether a guide mixes them up."""

from __future__ import annotations

__all__ = ["mixed_up", "swappable"]

import itertools
from typing import Any

import torch
from torch import Tensor

from ..pair.sites import Structure
from ..pair.terms import evaluate

_DRAWS = 200
_TOLERANCE = 1e-4  # of a log density, by which it may change when labels swap
_OVERLAP = 2.0  # standard deviations of a difference
_MOST_COMPONENTS = 50


def swappable(fit: Any) -> dict[str, int]:
    """The latents with a part for each component, and the number of components, where the density does not tell
    components apart: it is the same at a draw from the guide and at that draw with two components swapped. Empty where
    there are none.
    """
    structure: Structure = fit.structure
    sizes = {size for site in structure.enumerated if (size := _cardinality(site.support)) is not None}
    for size in sorted(size for size in sizes if 2 <= size <= _MOST_COMPONENTS):
        batch = fit.batch()
        drawn = evaluate(fit.program, batch, seed=0)
        names = [
            site.name
            for site in structure.select("latent", local=False)
            if site.name in drawn.values and not site.support.is_discrete and _parts(drawn.values[site.name]) == size
        ]
        if not names:
            continue
        order = [1, 0, *range(2, size)]
        other = {name: drawn.values[name][:, order] for name in names}
        swapped = evaluate(fit.program, batch, seed=0, values=drawn.values | other)
        here, there = _log_joint(drawn), _log_joint(swapped)
        if abs(here - there) <= _TOLERANCE * max(1.0, abs(here)):
            return dict.fromkeys(names, size)
    return {}


def mixed_up(fit: Any, names: dict[str, int]) -> tuple[int, int] | None:
    """Two components that the guide does not hold apart: all their numbers differ by less than two sds of that."""
    draws = fit.posterior(_DRAWS, seed=0)
    moments = [(draws[name].double().mean(0), draws[name].double().var(0)) for name in names]
    size = next(iter(names.values()))
    for i, j in itertools.combinations(range(size), 2):
        apart = [((mean[i] - mean[j]) / (var[i] + var[j]).sqrt()).abs().max() for mean, var in moments]
        if all(float(value) < _OVERLAP for value in apart):
            return i, j
    return None


def _cardinality(support: Any) -> int | None:
    """How many values a site takes; None where that is not known, or two by nature."""
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if low is None or high is None:
        return None
    return int(torch.as_tensor(high).max()) - int(torch.as_tensor(low).min()) + 1


def _parts(value: Tensor) -> int:
    """Of a draw ``(1, *shape)``: the length of its first dimension."""
    return value.shape[1] if value.dim() > 1 else 0


def _log_joint(terms: Any) -> float:
    found = 0.0
    for site in terms.sites.values():
        if site.log_p is not None:
            found += float(site.log_p.double().sum())
    return found
