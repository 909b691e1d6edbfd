"""Observed values against the support of the distribution that observes them."""

from __future__ import annotations

__all__ = ["check_observed", "is_checked"]

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..supports.membership import inside
from ..supports.support_sets import support_of, support_text
from .finding import Finding
from .pair_sites import PairSites, class_name, data_frames

_COUNTS = (
    "Poisson",
    "GammaPoisson",
    "NegativeBinomial",
    "Geometric",
    "ZeroInflatedPoisson",
    "ZeroInflatedNegativeBinomial",
)
_TOTALS = ("Binomial", "BetaBinomial", "Multinomial", "DirichletMultinomial")


def check_observed(pair: PairSites) -> Iterator[Finding]:
    """A value that its distribution cannot take has no density, whatever number `log_prob` returns for it.

    Masked entries are not looked at, nor is a distribution that was made with ``validate_args=False``: this is how a
    model says that it means values outside the support, such as the cross-entropy of grey values under a Bernoulli. A
    support that depends on discrete latents is left to the sum over these.
    """
    for name, site in pair.model.items():
        if not is_checked(site):
            continue
        known = inside(site["fn"], site["value"])
        if known is None or bool(known[0].all()):
            continue
        good, joint = known
        entries = max(site["fn"].event_dim - joint, 0)
        good = _or_masked(site, good, entries)
        moving = pair.moving.get(name)
        if not bool(good.all()) and not (moving is not None and moving.discrete):
            yield _outside(pair, name, site, good, entries, joint)


def is_checked(site: Any) -> bool:
    """Whether a site observes a value, and neither its distribution nor one that it wraps was told not to check."""
    if not site["is_observed"] or not isinstance(site["value"], Tensor):
        return False
    fn = site["fn"]
    while fn.__dict__.get("_validate_args") is not False:
        if not hasattr(fn, "base_dist"):
            return True
        fn = fn.base_dist
    return False


def _or_masked(site: Any, good: Tensor, entries: int) -> Tensor:
    """`good`, or hidden by a mask: the site's own, or one inside its distribution."""
    fn = site["fn"]
    masks = [] if site["mask"] is None else [(site["mask"], entries)]
    while hasattr(fn, "base_dist"):
        if type(fn).__name__ == "MaskedDistribution":
            masks.append((fn._mask, max(entries - (site["fn"].event_dim - fn.event_dim), 0)))
        fn = fn.base_dist
    for mask, extra in masks:
        shown = torch.as_tensor(mask, dtype=torch.bool, device=good.device)
        good = good | ~shown.reshape(*shown.shape, *[1] * extra)
    return good


def _outside(pair: PairSites, name: str, site: Any, good: Tensor, entries: int, joint: int) -> Finding:
    fn, value = site["fn"], site["value"]
    where = (~good).nonzero()[0].tolist()
    axis = next((good.dim() - entries + frame.dim for frame in data_frames(site)), 0)
    rows = 0 <= axis < good.dim() and good.shape[axis] == pair.size
    place = f" in row {pair.first_row + where[axis]}{pair.part}" if rows else ""
    bad = value.expand(*good.shape, *value.shape[value.dim() - joint :])[tuple(where)]
    number = int((~good).sum())
    more = f" and {number - 1} more such value{'s' if number > 2 else ''}" if number > 1 else ""
    kind, support = class_name(fn), support_of(fn)
    words = support_text(fn.support if support is None else support)
    what = f"The observed `{name}` holds {_text(bad)}{place}{more}, outside the support of its {kind} ({words})"
    moving = pair.moving.get(name)
    if moving is None:
        return Finding("data", name, f"{what}.", _cure(kind, bad), about_data=True)
    what = f"{what}, which depends on {moving}."
    if moving.latents:
        held = ", ".join(f"`{latent}`" for latent in moving.latents)
        return Finding(
            "moving-support",
            name,
            f"{what} At such a draw of the guide the data have no density, and the bound is -inf.",
            f"Write a guide that draws {held} only where all data have one, such as a LogNormal or a Gamma shifted by "
            f"the largest or the smallest of them.",
            stops=frozenset({"fit"}),
        )
    return Finding(
        "data",
        name,
        what,
        "Start the parameters where all data are inside, and constrain them to stay there: a bound that is to be "
        "fitted to the data themselves ends at the largest or the smallest of them, without any fit.",
        about_data=True,
    )


def _text(value: Tensor) -> str:
    if value.numel() == 1:
        return f"{float(value):g}"
    numbers = [f"{float(v):g}" for v in value.reshape(-1)[:4]]
    return f"[{', '.join(numbers)}{', …' if value.numel() > 4 else ''}]"


def _cure(kind: str, bad: Tensor) -> str:
    meant = f" If it is meant, `validate_args=False` in the {kind} says so."
    if kind == "Bernoulli" and bool((bad > 0).all() and (bad < 1).all()):
        return (
            "Code it 0 and 1. For grey values binarise (the transform `jensen.datasets.DynamicBinarization()`), or use "
            f"a ContinuousBernoulli or a Beta.{meant}"
        )
    if kind == "Bernoulli":
        return "Code it 0 and 1."
    if kind in ("Categorical", "OrderedLogistic"):
        return "Number the classes from 0, or give the distribution as many as there are."
    if kind in _COUNTS:
        return f"Pass counts, or use a likelihood for numbers that are none, such as a Gamma or a LogNormal.{meant}"
    if kind in _TOTALS:
        return f"Pass counts, and a `total_count` that holds them.{meant}"
    return "Change the likelihood, or recode or rescale the data."
