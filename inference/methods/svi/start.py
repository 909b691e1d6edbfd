"""Where a fit by SVI starts: its guide at Pathfinder's normal, or at the centre of the prior."""

from __future__ import annotations

__all__ = ["START_KINDS", "start_guide"]

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jensen.models import LatentVariableModel

from ...guides.whitened import whiten
from ...pair.latents import examine_latents
from ..pathfinder.path import PathResult, follow_path
from ..pathfinder.target import Target, posterior_target, unsuited

START_KINDS = ("pathfinder", "prior")

_DRAWS = 16  # of each normal on a path, to estimate its bound
_MOST_PATHS = 5


def start_guide(guide: Any, model: Any, batch: Mapping[str, Tensor], seed: int) -> dict[str, Any]:
    """Start a default guide at Pathfinder's normal, where the model suits; what was done, for `fit.info`.

    Args:
        guide: the fit's guide, one that `is_whitenable`.
        model: the fit's copy of the model.
        batch: all the data.
        seed: of the draws.
    """
    latents = examine_latents(model, batch)
    reason = unsuited(latents, batch)
    if isinstance(model, LatentVariableModel) and type(model).initialize is not LatentVariableModel.initialize:
        reason = "the model starts itself at the data"
    if reason:
        return {"kind": "prior", "reason": reason}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = _paths(posterior_target(model, batch, seed, _DRAWS), seed)
        if not results:
            return {"kind": "prior", "reason": "the density has no value at the prior's centre, nor at draws from it"}
        best = max(results, key=lambda result: result.bound)
        whiten(guide, best.normal.loc, best.normal.scale_tril)
    except Exception as error:  # whatever a user's program raises in float64, on all the data or under vmap
        return {"kind": "prior", "reason": f"the density could not be followed ({type(error).__name__}: {error})"}
    return {
        "kind": "pathfinder",
        "bound": best.bound,
        "bound_stderr": best.stderr,
        "paths": len(results),
        "path_steps": sum(result.steps for result in results),
        "at_mode": best.converged,
    }


def _paths(target: Target, seed: int) -> list[PathResult]:
    """A path from the centre of the prior, and others from draws until the best two agree."""
    noise = target.noise(_DRAWS, seed)
    results: list[PathResult] = []
    for start in (target.centre, *target.draws[: _MOST_PATHS - 1]):
        found = follow_path(target.log_density, start, target.spread, noise)
        if found is not None:
            results.append(found)
            first, second, *_ = [*sorted((result.bound for result in results), reverse=True), -torch.inf]
            if first - second < 1.0 + 2.0 * found.stderr:
                break
    return results
