"""Data that a plate counts many times: one value, broadcast over all its entries."""

from __future__ import annotations

__all__ = ["check_counting"]

from collections.abc import Iterator
from typing import Any

import torch

from ..messengers.minibatch import DATA_PLATE
from .finding import Finding
from .pair_sites import PairSites, class_name, data_frames


def check_counting(pair: PairSites) -> Iterator[Finding]:
    """An observed value that lacks the data plate's dimension has the same density in each of its entries."""
    for name, site in pair.model.items():
        frames = [frame for frame in data_frames(site) if frame.vectorized and pair.size == frame.size > 1]
        if frames and site["is_observed"] and _is_repeated(site, frames[0].dim):
            yield Finding(
                "counted-many-times",
                name,
                f"The observed value of `{name}`, of shape {tuple(site['value'].shape)}, is one event of its "
                f"{class_name(site['fn'])}, and the plate `{DATA_PLATE}` around it counts it {frames[0].size} times.",
                "If it is a series or a field whose entries depend on each other, it is one datum: take it out of "
                "the plate, or give the data a leading axis, shape (1, …), so that the plate has size 1. If its "
                "entries are independent, give the distribution one of them as its event.",
            )


def _is_repeated(site: Any, dim: int) -> bool:
    fn, value = site["fn"], site["value"]
    rows = value.shape[: value.dim() - fn.event_dim]
    if len(rows) >= -dim and rows[dim] > 1:
        return False
    if class_name(fn) == "Unit":  # `pyro.factor`: its value is empty, its terms are one a datum
        return False
    try:
        with torch.no_grad():
            terms = fn.log_prob(value)
    except (RuntimeError, ValueError, IndexError, NotImplementedError):
        return False
    if terms.dim() < -dim or terms.shape[dim] == 1:
        return True
    return bool((terms == terms.narrow(dim, 0, 1)).all())
