"""The normal over unconstrained latents that is nearest to a fit's posterior."""

from __future__ import annotations

__all__ = ["posterior_normal"]

from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to

from ..guides import NormalGuide
from ..guides.whitened import AutoLowRankMultivariateNormal, AutoMultivariateNormal
from ..pair.latents import LatentSite, examine_latents
from ..pair.supports.circle import wrapped
from ..tensors import Tensors
from .draws import posterior_draws
from .record import FitRecord

_DRAWS, _NUMBERS = 1_000, 2e7  # of a posterior that is no normal: so many, and so many numbers at most
_MOST_LATENTS = 1_000  # of a covariance


@torch.no_grad()
def posterior_normal(fit: FitRecord) -> tuple[Tensors, Tensor, Tensor]:
    """Centre by site, in its support; the same unconstrained, ``(D,)``; and the Cholesky factor of the covariance.

    Exact for guides that are normals; otherwise by mean and covariance of draws. All in float64, on the CPU. Of more
    than 1,000 numbers there is no covariance: the factor is empty.
    """
    batch = fit.stand_in() if fit.data is None else fit.batch()
    sites = examine_latents(fit.model, batch).continuous
    if not sites:
        return {}, torch.empty(0), torch.empty(0)
    found = _of_guide(fit.guide, sites) if fit.draws is None else None
    loc, scale_tril = found or _of_draws(fit, sites)
    sizes = [site.unconstrained_start.numel() for site in sites]
    values = {
        site.name: _value(site, part.reshape(site.unconstrained_start.shape))
        for site, part in zip(sites, loc.split(sizes), strict=True)
    }
    return values, loc, scale_tril


def _value(site: LatentSite, free: Tensor) -> Tensor:
    return wrapped(free) if site.circular else biject_to(site.support)(free).double().cpu()


def _of_guide(guide: Any, sites: tuple[LatentSite, ...]) -> tuple[Tensor, Tensor] | None:
    if isinstance(guide, (AutoMultivariateNormal, AutoLowRankMultivariateNormal)):
        normal = guide.get_posterior()
        covariance = normal.covariance_matrix.double().cpu()
        return normal.loc.double().cpu(), torch.linalg.cholesky(covariance)
    if isinstance(guide, NormalGuide):
        held = dict(guide.named_parameters())
        loc, log_scale = (
            torch.cat([v.reshape(-1) for name, v in held.items() if name.startswith(kind)]).double().cpu()
            for kind in ("loc_", "log_scale_")
        )
        return loc, log_scale.exp().diag() if len(loc) <= _MOST_LATENTS else torch.empty(0)
    return None


def _of_draws(fit: FitRecord, sites: tuple[LatentSite, ...]) -> tuple[Tensor, Tensor]:
    size = sum(site.unconstrained_start.numel() for site in sites)
    num = int(min(_DRAWS, max(_NUMBERS // size, 50)))
    if fit.draws is not None:
        num = min(num, len(next(iter(fit.draws.values()))))
    local = any(site.local for site in sites)
    draws = posterior_draws(fit, num, fit.data if local else None, 0)
    rows = torch.cat([site.free(_as(site, draws[site.name])).double().cpu().reshape(num, -1) for site in sites], -1)
    loc = rows.mean(0)
    if size > _MOST_LATENTS or num < 2:
        return loc, torch.empty(0)
    centred = rows - loc
    spread = centred.square().mean(0).sqrt()
    if num < 10 * size or not bool((spread > 0.0).all()):
        return loc, spread.clamp(min=1e-6).diag()
    covariance = centred.mT @ centred / (num - 1)
    return loc, torch.linalg.cholesky(covariance + 1e-6 * spread.square().diag())


def _as(site: LatentSite, draws: Tensor) -> Tensor:
    """Draws ``(S, ...)`` in the shape of the site's value."""
    return draws.reshape(len(draws), *site.start.shape)
