"""Directions in the space of unconstrained latents, in the words of the model's sites."""

from __future__ import annotations

__all__ = ["along", "latent_names", "value_at"]

import itertools
import math

import torch
from torch import Tensor

from ...pair.density import LatentDensity
from ...tensors import number_names

_TERMS = 4
_SHARE = 0.1  # of the largest loading, which a loading must have to be named


def latent_names(density: LatentDensity) -> list[str]:
    """A name for each unconstrained number, such as ``w[0, 2]``."""
    names: list[str] = []
    for site, shape in zip(density.sites, density.shapes, strict=True):
        names += number_names(site.name, [size for size in shape if size > 1])
    return names


def along(direction: Tensor, spread: Tensor, density: LatentDensity) -> str:
    """A direction as its largest terms, such as "w[0] - 2 w[1]".

    Args:
        direction: ``(D,)``; its sign does not matter.
        spread: ``(D,)`` the scale of each number, by which loadings are compared.
        density: whose latents they are.
    """
    direction = direction.nan_to_num(0.0, 1e300, -1e300)
    loadings = (direction / spread).abs()
    names = latent_names(density)
    order = loadings.argsort(descending=True, stable=True).tolist()
    shown = [i for i in order[:_TERMS] if loadings[i] >= _SHARE * loadings[order[0]]]
    unit = float(direction[shown[0]]) or 1.0
    text = ""
    for place, index in enumerate(shown):
        size = float(direction[index]) / unit
        sign = "" if place == 0 else " - " if size < 0 else " + "
        number = "" if math.isclose(abs(size), 1.0, rel_tol=5e-3) else f"{abs(size):.2g} "
        text += f"{sign}{number}{names[index]}"
    more = int((loadings[order[_TERMS:]] >= _SHARE * loadings[order[0]]).sum())
    return f"`{text}`" + (f" and {more} more" if more else "")


def value_at(direction: Tensor, spread: Tensor, density: LatentDensity, u: Tensor) -> str:
    """The latent that a direction changes most and its value at ``u (D,)``, such as "s is 3e-12".

    Empty for one of several numbers.
    """
    index = int((direction.nan_to_num(0.0, 1e300, -1e300) / spread).abs().argmax())
    ends = itertools.accumulate(map(math.prod, density.shapes))
    site = next(site for site, end in zip(density.sites, ends, strict=True) if index < end)
    with torch.no_grad():
        value = density.latents(u.unsqueeze(0))[0][site.name]
    return f"`{site.name}` is {float(value):.3g}" if value.numel() == 1 else ""
