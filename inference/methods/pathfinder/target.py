"""The density that a path climbs: of a model's global latents given all the data, in float64."""

from __future__ import annotations

__all__ = ["Target", "check_suited", "posterior_target", "unsuited"]

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...devices import exact_dtype, run_on
from ...pair.capabilities import unsupported_method
from ...pair.density import LatentDensity
from ...pair.function_program import own_copy
from ...pair.latents import Latents, LatentSite, draw_latents, examine_latents
from ...seeding import derive_seed
from ...step.density_graph import DensityGraph
from ...tensors import Tensors
from .path import PathResult, follow_path

_MOST_LATENTS = 500
_MOST_NUMBERS = 2e7  # of data: above, one evaluation of the density takes longer than many steps of a fit
_PRIOR_DRAWS = 16
_PATH_DRAWS = 16  # of each normal on a path, to estimate its bound
_FEW_NUMBERS = 100_000  # of data: below, a trace for another number of rows costs more than rows that nobody asked for


@dataclass(frozen=True)
class Target:
    """A log density over :math:`\\mathbb R^D`, and where to begin.

    Attributes:
        log_density: values and gradients of rows ``(K, D)``.
        latents: whose density it is.
        centre: of the prior, ``(D,)``.
        spread: of the prior, ``(D,)``, roughly.
        draws: from the prior, ``(16, D)``.
        noise: standard noise ``(M, D)``, by which the normals of all paths are compared.
    """

    log_density: DensityGraph
    latents: Latents
    centre: Tensor
    spread: Tensor
    draws: Tensor
    noise: Tensor

    @property
    def starts(self) -> list[Tensor]:
        """Where to begin: the centre of the prior, then the draws."""
        return [self.centre, *self.draws]

    def follow(self, start: Tensor) -> PathResult | None:
        """The path from a start ``(D,)``; None where the density has no value there, or the path goes beyond any."""
        found = follow_path(self.log_density, start, self.spread, self.noise)
        return found if found is not None and self._has_value(found.normal.loc) else None

    def _has_value(self, u: Tensor) -> bool:
        """Whether the latents at ``u (D,)`` are finite: where a density rises without end, paths go beyond that."""
        with torch.no_grad():
            values, _ = self.log_density.density.latents(u.unsqueeze(0))
        return all(bool(torch.isfinite(value).all()) for value in values.values())


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


def check_suited(method: str, model: Any, batch: Mapping[str, Tensor]) -> None:
    """Raise a `ModelError` that names the method, for a model that :func:`unsuited` has an objection to."""
    if reason := unsuited(examine_latents(model, batch), batch):
        raise unsupported_method(method, model, f"global latents alone, to climb their density ({reason})")


def posterior_target(
    model: Any,
    batch: Mapping[str, Tensor],
    seed: int,
    num_draws: int = _PATH_DRAWS,
    dtype: torch.dtype | None = None,
) -> Target:
    """The target of a model that :func:`unsuited` has no objection to. Its parameters stay as they are.

    Args:
        model: a program; a copy in `dtype` is evaluated.
        batch: all the data.
        seed: of the draws from the prior, and of the noise.
        num_draws: how much noise; so many rows are evaluated at once where the data are few, else one.
        dtype: number type; None for float64, where the device has it.
    """
    device = next(iter(batch.values())).device
    dtype = dtype or exact_dtype(device)
    own = own_copy(model, device, dtype)
    if isinstance(own, torch.nn.Module):
        own.requires_grad_(False)
    data: Tensors = {name: v.to(dtype) if v.is_floating_point() else v for name, v in batch.items()}
    with run_on(device, dtype):
        torch.manual_seed(derive_seed(seed, "pathfinder"))
        latents = examine_latents(own, data)
        density = LatentDensity(own, data, latents)
        draws = draw_latents(own, data, latents, _PRIOR_DRAWS)
    few = sum(value.numel() for value in batch.values()) <= _FEW_NUMBERS
    graph = DensityGraph(density, num_draws if few else 1)
    generator = torch.Generator(device).manual_seed(derive_seed(seed, "path noise"))
    noise = torch.randn((num_draws, density.dim), generator=generator, dtype=dtype, device=device)
    return Target(graph, latents, density.start, _spread(draws, density), draws, noise)


def _spread(draws: Tensor, density: LatentDensity) -> Tensor:
    """How far each number varies under the prior, ``(D,)``; of one that cannot be drawn, a guess by its curvature."""
    spread = (draws - density.start).abs().median(0).values.clamp(min=1e-6)

    def each(of: Callable[[LatentSite], bool]) -> Tensor:
        parts = [
            torch.full(shape, of(site)).reshape(-1) for site, shape in zip(density.sites, density.shapes, strict=True)
        ]
        return torch.cat(parts).to(spread.device)

    improper = each(lambda site: site.improper)
    if not bool(improper.any()):
        return spread
    guess = torch.ones_like(spread)  # of logarithms and log odds
    with suppress(Exception):  # whatever a user's program raises when it is differentiated twice
        found = 10.0 * DensityGraph(density).hessian(density.start).diagonal().abs().rsqrt()
        guess = torch.where(torch.isfinite(found) & each(lambda site: site.is_real), found, guess)
    return torch.where(improper, guess, spread)
