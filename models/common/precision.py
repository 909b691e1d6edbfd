"""The number type in which closed forms compute."""

from __future__ import annotations

__all__ = ["wide"]

from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """The same in float64, where the device has it; a float64 tensor as it is."""
    return x if x.device.type == "mps" else x.double()
