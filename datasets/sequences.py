"""Sequences of unequal lengths as one tensor and their lengths, as `HiddenMarkovModel` takes them."""

from __future__ import annotations

__all__ = ["pad_sequences"]

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def pad_sequences(sequences: Sequence[Any], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Put sequences into one tensor, padded with zeros to the longest.

    Args:
        sequences: one array, list or tensor each: of steps and features ``(T_n, D)``, or of codes or single numbers
            ``(T_n,)``. There may be empty ones.
        dtype: of floating-point numbers; default `torch.get_default_dtype()`. Whole numbers stay int64.

    Returns:
        ``x``, ``(N, T, D)`` or ``(N, T)``, and ``lengths``, ``(N,)`` int64.

    Raises:
        ValueError: no sequence, or sequences of different kinds.

    Example:
        >>> data = pad_sequences([[0, 1, 1], [2]])
        >>> data["x"].tolist(), data["lengths"].tolist()
        ([[0, 1, 1], [2, 0, 0]], [3, 1])
    """
    found = [each if isinstance(each, Tensor) else torch.from_numpy(np.array(each)) for each in sequences]
    if not found:
        raise ValueError("`sequences` must hold at least one sequence, got none.")
    filled = [each for each in found if len(each)] or found
    first = filled[0]
    for number, each in enumerate(found):
        if len(each) and (each.ndim not in (1, 2) or each.shape[1:] != first.shape[1:]):
            raise ValueError(
                f"`sequences` must each have shape (T, D), with the same D, or (T,), got {tuple(each.shape)} in number "
                f"{number} where another has {tuple(first.shape)}. Select the features that all have."
            )
    whole = not any(each.is_floating_point() for each in filled)
    lengths = torch.tensor([len(each) for each in found])
    x = torch.zeros(len(found), int(lengths.max()), *first.shape[1:], dtype=torch.int64 if whole else dtype)
    for row, each in zip(x, found, strict=True):
        if len(each):
            row[: len(each)] = each
    return {"x": x, "lengths": lengths}
