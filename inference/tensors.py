"""What collections of tensors are called, and how many data one holds."""

from __future__ import annotations

__all__ = ["Batch", "TensorList", "Tensors", "num_rows"]

from collections.abc import Mapping

import torch

Batch = Mapping[str, torch.Tensor]
"""Tensors by name that are read alone: the data that a program is given, their first dimension the rows."""

Tensors = dict[str, torch.Tensor]
"""Tensors by name that are a caller's own: draws, values, states."""

TensorList = list[torch.Tensor]
"""Tensors in order: the parameters, gradients and buffers of a step."""


def num_rows(batch: Batch) -> int:
    """How many data a batch holds: the length of its first tensor."""
    return len(next(iter(batch.values())))
