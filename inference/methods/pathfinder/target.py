"""The density that a path climbs: of a model's global latents given all the data, in float64."""

from __future__ import annotations

__all__ = ["Target", "posterior_target", "unsuited"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...devices import exact_dtype, run_on
from ...pair.density import LatentDensity
from ...pair.function_program import own_copy
from ...pair.latents import Latents, draw_latents, examine_latents
from ...seeding import derive_seed
from ...step.density_graph import DensityGraph
from ...tensors import Tensors

_MOST_LATENTS = 500
_MOST_NUMBERS = 2e7  # of data: above, one evaluation of the density takes longer than many steps of a fit
_PRIOR_DRAWS = 16


@dataclass(frozen=True)
class Target:
    """A log density over :math:`\\mathbb R^D`, and where to begin.

    Attributes:
        log_density: values and gradients of rows ``(K, D)``.
        latents: whose density it is.
        centre: of the prior, ``(D,)``.
        spread: of the prior, ``(D,)``, roughly.
        draws: from the prior, ``(16, D)``.
    """

    log_density: DensityGraph
    latents: Latents
    centre: Tensor
    spread: Tensor
    draws: Tensor

    def noise(self, count: int, seed: int) -> Tensor:
        """Standard noise ``(count, D)``, by which the normals of all paths are compared."""
        like = self.centre
        generator = torch.Generator(like.device).manual_seed(derive_seed(seed, "path noise"))
        return torch.randn((count, len(like)), generator=generator, dtype=like.dtype, device=like.device)


def unsuited(latents: Latents, batch: Mapping[str, Tensor]) -> str:
    """Why the density of these latents is not to be climbed, or an empty string."""
    if latents.local:
        return f"`{latents.local[0]}` is a latent of each datum"
    if any(site.mask is not None for site in latents.continuous):
        return "latents are masked"
    count = sum(site.unconstrained_start.numel() for site in latents.continuous)
    if not 0 < count <= _MOST_LATENTS:
        return f"there are {count} latent numbers, and a path is for 1 to {_MOST_LATENTS}"
    if sum(value.numel() for value in batch.values()) > _MOST_NUMBERS:
        return "the data are large"
    return ""


def posterior_target(model: Any, batch: Mapping[str, Tensor], seed: int) -> Target:
    """The target of a model that :func:`unsuited` has no objection to. Its parameters stay as they are.

    Args:
        model: a program; a copy in float64 is evaluated.
        batch: all the data.
        seed: of the draws from the prior.
    """
    device = next(iter(batch.values())).device
    dtype = exact_dtype(device)
    own = own_copy(model, device, dtype)
    if isinstance(own, torch.nn.Module):
        own.requires_grad_(False)
    data: Tensors = {name: v.to(dtype) if v.is_floating_point() else v for name, v in batch.items()}
    with run_on(device, dtype):
        torch.manual_seed(derive_seed(seed, "pathfinder"))
        latents = examine_latents(own, data)
        density = LatentDensity(own, data, latents)
        draws = draw_latents(own, data, latents, _PRIOR_DRAWS)
    spread = (draws - density.start).abs().median(0).values.clamp(min=1e-6)
    return Target(DensityGraph(density), latents, density.start, spread, draws)
