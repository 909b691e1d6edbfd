"""The start of a model's parameters at the data: of a new model, and never again of a fitted one."""

from __future__ import annotations

__all__ = ["start_model"]

from collections.abc import Mapping
from typing import Any

import torch


def start_model(model: Any, batch: Mapping[str, torch.Tensor], seed: int) -> None:
    """Start a fit's own copy of a model: `prepare` it for the data, and `initialize` it unless a fit made it.

    The parameters of a fitted model stay as they are: a further fit goes on from them. From here on the copy counts as
    fitted itself (its `fitted` is True), and so does what is copied from it, or loaded from a folder. Factors that CAVI
    found before are forgotten, as the parameters are about to move.

    Args:
        model: the copy, changed in place. `prepare(batch)` and `initialize(batch, seed)` are optional.
        batch: all the data, or the first of those too large for memory.
        seed: of the start.
    """
    if callable(prepare := getattr(model, "prepare", None)):
        prepare(batch)
    if not getattr(model, "fitted", False) and callable(initialize := getattr(model, "initialize", None)):
        initialize(batch, seed)
    model.fitted = True
    if getattr(model, "learned_factors", None) is not None:
        model.keep_factors(None)
