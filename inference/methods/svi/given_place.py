"""A default guide put at a start that the caller gave, with scales where some are known."""

from __future__ import annotations

__all__ = ["place_at"]

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import biject_to

from ...errors import ConfigurationError, nearest_or_all
from ...guides import NormalGuide
from ...guides.whitened import whiten
from ...pair.latents import Latents, LatentSite
from ..pathfinder.target import posterior_target
from .given_start import GivenStart


@torch.no_grad()
def place_at(
    guide: Any,
    model: Any,
    batch: Mapping[str, Tensor],
    seed: int,
    start: GivenStart,
    latents: Latents,
    unsuited: str,
) -> dict[str, Any]:
    """Start a default guide at given values, the rest at the prior's centre; what was done, for `fit.info`.

    Scales are those of the fit that was given, or of Pathfinder's normal on the path from the values; where neither is
    known (`unsuited` says why), the guide's own.

    Raises:
        ConfigurationError: for a name, shape or value that no latent has.
    """
    sites = {site.name: site for site in latents.continuous}
    for name in start.values:
        if name not in sites:
            of = "`start` is a fit with the latent" if start.kind == "fit" else "`start` has the name"
            raise ConfigurationError(f"{of} `{name}`, which the model lacks.{nearest_or_all(name, sites)}")
    rest = [name for name in sites if name not in start.values]
    if rest and start.kind == "fit":
        raise ConfigurationError(
            f"`start` is a fit without the latent `{rest[0]}` of the model. Give a fit of the same latents, or a dict "
            f"of values for those that it has: `start={{name: draws.mean(0)}}`."
        )
    places = {name: _free(site, start.values.get(name)) for name, site in sites.items()}
    loc = torch.cat([place.reshape(-1) for place in places.values()])
    info: dict[str, Any] = {"kind": start.kind, "latents": list(start.values)}
    if rest:
        info["at_prior"] = rest
    if start.kind == "fit":
        scale_tril, reason = _reordered(start, sites), "more than 1,000 latent numbers"
        scales = "of the fit"
    else:
        scale_tril, reason = _scales_from(loc, model, batch, seed, unsuited)
        scales = "of the path from there"
    if scale_tril is None:
        _move(guide, loc)
        return {**info, "reason": reason}
    whiten(guide, loc, scale_tril.to(loc.device))
    return {**info, "scales": scales}


def _free(site: LatentSite, value: Tensor | None) -> Tensor:
    """The unconstrained place of a latent, in float64: of the value, or of the prior's centre."""
    if value is None:
        return site.unconstrained_start.double()
    shape = tuple(site.start.shape)
    try:
        full = value.to(site.start.device).expand(shape)
    except RuntimeError as error:
        raise ConfigurationError(
            f"`start` of `{site.name}` must have shape {shape}, got {tuple(value.shape)}."
        ) from error
    if not site.circular and not bool(site.support.check(full).all()):
        raise ConfigurationError(
            f"`start` of `{site.name}` must be in its support, {site.support}, got {full.flatten()[:4].tolist()}."
        )
    free = site.free(full)
    if not bool(torch.isfinite(free).all()):
        raise ConfigurationError(
            f"`start` of `{site.name}` is at the edge of its support, {site.support}: start inside."
        )
    return free


def _reordered(start: GivenStart, sites: Mapping[str, LatentSite]) -> Tensor | None:
    """The factor of a fit's covariance with the latents in the order of the model."""
    sizes = {name: site.unconstrained_start.numel() for name, site in sites.items()}
    if sum(sizes.values()) != len(start.loc):
        raise ConfigurationError("`start` is a fit whose latents have other supports than those of the model.")
    parts = dict(zip(start.values, torch.arange(len(start.loc)).split([sizes[n] for n in start.values]), strict=True))
    for name, site in sites.items():
        place = start.loc[parts[name]].reshape(site.unconstrained_start.shape).to(site.start.device)
        value = start.values[name].to(place).reshape(site.start.shape)
        if not site.circular and not torch.allclose(biject_to(site.support)(place), value, rtol=1e-3, atol=1e-6):
            raise ConfigurationError(
                f"`start` is a fit whose latent `{name}` has another support than {site.support} of the model."
            )
    if not len(start.scale_tril):
        return None
    order = torch.cat([parts[name] for name in sites])
    if bool((order.diff() == 1).all()):
        return start.scale_tril
    root = start.scale_tril[order]
    return torch.linalg.cholesky(root @ root.mT)


def _scales_from(
    loc: Tensor, model: Any, batch: Mapping[str, Tensor], seed: int, unsuited: str
) -> tuple[Tensor | None, str]:
    """The factor of the covariance of Pathfinder's normal on the path from a place; or None, and why there is none."""
    if unsuited:
        return None, unsuited
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target = posterior_target(model, batch, seed)
            found = target.follow(loc.to(target.spread))
    except Exception as error:  # whatever a user's program raises in float64, on all the data or under vmap
        return None, f"the density could not be followed ({type(error).__name__}: {error})"
    return (None, "the density has no value there") if found is None else (found.normal.scale_tril, "")


def _move(guide: nn.Module, loc: Tensor) -> None:
    """Put the locations of a default guide at a place, ``(D,)``; its scales stay."""
    if isinstance(guide, NormalGuide):
        parts = [value for name, value in guide.named_parameters() if name.startswith("loc_")]
    else:
        parts = [guide.loc]  # type: ignore[list-item]
    for part, place in zip(parts, loc.split([part.numel() for part in parts]), strict=True):
        part.copy_(place.reshape(part.shape))
