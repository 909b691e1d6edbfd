"""Weights of rows: how often each counts in a fit, as if it stood in the data that many times."""

from __future__ import annotations

__all__ = ["check_weight", "counted", "weights_in"]

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .inputs import as_tensor


def check_weight(weight: Tensor | None, what: str = "row") -> None:
    """Raise unless the weights ``(N,)`` are finite, not negative, and not all zero; `what` one of them is of."""
    if weight is None:
        return
    if weight.ndim != 1:
        raise ValueError(f"`weight` must be a vector (N,), one for each {what}, got shape {tuple(weight.shape)}.")
    if not bool((weight >= 0).all()) or not bool((weight > 0).any()):
        raise ValueError(
            f"`weight` must not be negative, nor 0 for all {what}s, got {weight.min().item():g} as the smallest. "
            f"Drop the {what}s that should not count."
        )


def weights_in(data: Any, like: Tensor) -> Tensor | None:
    """The weights among the data, as a tensor like `like`; None where there are none."""
    value = data.get("weight") if isinstance(data, Mapping) else None
    return None if value is None else as_tensor("weight", value, like)


def counted(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch without its weights, and without the rows of weight zero: what a start looks at."""
    rest = {name: value for name, value in batch.items() if name != "weight" and value is not None}
    weight = batch.get("weight")
    return rest if weight is None else {name: value[weight > 0] for name, value in rest.items()}
