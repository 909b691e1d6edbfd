"""What collections of tensors and the numbers of one are called, and how many data one holds."""

from __future__ import annotations

__all__ = ["Batch", "TensorList", "Tensors", "num_rows", "number_names"]

import itertools
from collections.abc import Iterable, Mapping

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


def number_names(name: str, shape: Iterable[int]) -> list[str]:
    """A name for each number of a tensor, in order.

    >>> number_names("w", (2, 2)), number_names("b", ())
    (['w[0, 0]', 'w[0, 1]', 'w[1, 0]', 'w[1, 1]'], ['b'])
    """
    places = itertools.product(*map(range, shape))
    return [f"{name}[{', '.join(map(str, place))}]" if place else name for place in places]
