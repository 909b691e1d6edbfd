"""The numbers of a guide's draws that vary, side by side."""

from __future__ import annotations

__all__ = ["side_by_side", "varying"]

from collections.abc import Mapping

import torch
from torch import Tensor

from ...tensors import number_names


def side_by_side(draws: Mapping[str, Tensor]) -> tuple[list[str], Tensor]:
    """Names of the numbers, and the numbers ``(K, D)`` in float64, of draws ``(K, *shape)`` by latent."""
    names = [name for site, value in draws.items() for name in number_names(site, value.shape[1:])]
    return names, torch.cat([value.double().reshape(len(value), -1) for value in draws.values()], -1)


def varying(names: list[str], x: Tensor) -> tuple[list[str], Tensor, Tensor]:
    """Those of the numbers ``(K, D)`` that vary beyond rounding: their names, they, and their standard deviations."""
    spread = x.std(0)
    varies = spread > 1e-12 * x.abs().amax(0).clamp(min=torch.finfo(x.dtype).tiny)
    return [name for name, kept in zip(names, varies.tolist(), strict=True) if kept], x[:, varies], spread[varies]
