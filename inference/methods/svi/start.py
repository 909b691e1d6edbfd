"""Where a fit by SVI starts: its guide at Pathfinder's or Laplace's normal, at given values, or at another fit's."""

from __future__ import annotations

__all__ = ["is_whitened", "start_guide"]

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from jensen.models import LatentVariableModel

from ...guides.whitened import whiten
from ...pair.latents import examine_latents
from ..laplace.faults import explained
from ..laplace.mode import find_mode
from ..pathfinder.path import PathResult
from ..pathfinder.target import Target, posterior_target, unsuited
from .given_place import place_at
from .given_start import GivenStart

_MOST_PATHS = 5
_MOST_CLIMBS = 3
_AGREEMENT = 3.0  # nats


def is_whitened(start: Mapping[str, Any]) -> bool:
    """Whether a guide with this start takes its steps in posterior standard deviations."""
    return start["kind"] in ("pathfinder", "laplace") or "scales" in start


def start_guide(
    guide: Any, model: Any, batch: Mapping[str, Tensor], seed: int, start: str | GivenStart, whole: bool = True
) -> dict[str, Any]:
    """Start a default guide; what was done, for `fit.info`.

    Args:
        guide: the fit's guide, one that `is_whitenable`.
        model: the fit's copy of the model.
        batch: all the data, or a part of them.
        seed: of the draws.
        start: ``"pathfinder"`` or ``"laplace"``, where the model suits and else at the prior; or what is given.
        whole: whether `batch` is all the data.
    """
    latents = examine_latents(model, batch)
    reason = unsuited(latents, batch) if whole else "the data are streamed"
    if isinstance(start, GivenStart):
        return place_at(guide, model, batch, seed, start, latents, reason)
    if isinstance(model, LatentVariableModel) and type(model).initialize is not LatentVariableModel.initialize:
        reason = "the model starts itself at the data"
    if reason:
        return {"kind": "prior", "reason": reason}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target = posterior_target(model, batch, seed)
            return (_by_laplace if start == "laplace" else _by_pathfinder)(guide, target)
    except Exception as error:  # whatever a user's program raises in float64, on all the data or under vmap
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return {"kind": "prior", "reason": f"the density could not be followed ({what:.300})"}


def _by_pathfinder(guide: Any, target: Target) -> dict[str, Any]:
    results = _paths(target)
    if not results:
        return {"kind": "prior", "reason": "the density has no value at the prior's centre, nor at draws from it"}
    best = max(results, key=_assured)
    whiten(guide, best.normal.loc, best.normal.scale_tril)
    return {
        "kind": "pathfinder",
        "bound": best.bound,
        "bound_stderr": best.stderr,
        "paths": len(results),
        "path_steps": sum(result.steps for result in results),
        "at_mode": best.converged,
    }


def _paths(target: Target) -> list[PathResult]:
    """A path from the centre of the prior, and others from draws until the best two agree."""
    results: list[PathResult] = []
    for start in target.starts[:_MOST_PATHS]:
        found = target.follow(start)
        if found is not None:
            results.append(found)
            best, *others = sorted(results, key=_assured, reverse=True)
            if others and abs(best.bound - others[0].bound) + best.stderr + others[0].stderr < _AGREEMENT:
                break  # bounds that draws of few scales cannot tell apart, as in a funnel, are no agreement
    return results


def _by_laplace(guide: Any, target: Target) -> dict[str, Any]:
    reason = "the density has no value at the prior's centre, nor at draws from it"
    for start in target.starts[:_MOST_CLIMBS]:
        mode = find_mode(target.log_density, start, target.spread)
        if mode is not None and not mode.fault:
            whiten(guide, mode.u, mode.curvature.scale_tril)
            return {
                "kind": "laplace",
                "log_density": mode.value,
                "newton_distance": mode.distance,
                "path_steps": mode.steps,
            }
        if mode is not None:
            reason = explained(mode, target)
    return {"kind": "prior", "reason": reason}


def _assured(result: PathResult) -> float:
    """What the bound is at least, give or take."""
    return result.bound - result.stderr
