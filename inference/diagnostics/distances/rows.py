"""Draws of several latents as rows of numbers, in the order of the names."""

from __future__ import annotations

__all__ = ["Rows", "check_draws", "rows_of", "unwrapped"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import DataError
from ...tensors import Tensors


@dataclass(frozen=True)
class Rows:
    """Draws side by side.

    Attributes:
        values: ``(C, n, D)`` float64 on the CPU: chains, draws of each, numbers. One chain for independent draws.
        independent: whether draws are known not to depend on each other.
    """

    values: Tensor
    independent: bool

    @property
    def flat(self) -> Tensor:
        """``(C n, D)``, one chain after the other."""
        return self.values.flatten(0, 1)

    def select(self, kept: Tensor) -> Rows:
        """Those numbers alone."""
        return Rows(self.values[..., kept], self.independent)

    def spaced(self, count: int) -> Tensor:
        """At most `count` of the draws ``(n, D)``, evenly spaced."""
        flat = self.flat
        if len(flat) <= count:
            return flat
        return flat[torch.linspace(0, len(flat) - 1, count, dtype=torch.float64).round().long()]


def check_draws(what: str, draws: Mapping[str, Any]) -> Tensors:
    """Draws by name as tensors ``(S, …)``; those of a floating type are checked to be finite.

    Raises:
        DataError: there are none, their numbers differ, or one is not finite.
    """
    if not draws:
        raise DataError(f"`{what}` holds no draws. Pass a dict such as `fit.posterior(4_000)`.")
    found = {str(name): torch.as_tensor(value).detach().cpu() for name, value in draws.items()}
    counts = {name: len(value) if value.ndim else 0 for name, value in found.items()}
    if len(set(counts.values())) > 1 or min(counts.values()) < 1:
        raise DataError(f"`{what}` must hold equally many draws of every latent, the first dimension; got {counts}.")
    for name, value in found.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            bad = int((~torch.isfinite(value)).reshape(len(value), -1).any(1).sum())
            raise DataError(f"`{name}` of `{what}` is not finite in {bad:,} of {len(value):,} draws. Leave it out.")
    return found


def rows_of(draws: Tensors, names: Sequence[str], chains: int, independent: bool) -> Rows:
    """The numbers of these latents side by side; chains follow one another in the draws."""
    columns = torch.cat([draws[name].double().reshape(len(draws[name]), -1) for name in names], -1)
    return Rows(columns.reshape(chains, -1, columns.shape[-1]), independent)


def unwrapped(angles: Tensor, about: Tensor) -> Tensor:
    """Angles within half a turn of the mean direction of `about`, ``(S, …)`` both."""
    centre = torch.atan2(about.sin().mean(0), about.cos().mean(0))
    return centre + torch.remainder(angles - centre + math.pi, 2.0 * math.pi) - math.pi
