"""Why a climb ended at no mode, in words that name the direction and say what to do."""

from __future__ import annotations

__all__ = ["explained"]

from ..pathfinder.target import Target
from .directions import along, value_at
from .mode import FLAT, Mode


def explained(mode: Mode, target: Target) -> str:
    """The reason and the remedies, of a mode with a fault."""
    density, spread = target.log_density.density, target.spread
    assert mode.direction is not None
    direction = along(mode.direction, spread, density)
    at = value_at(mode.direction, spread, density, mode.u)
    if mode.fault == FLAT:
        there = f", where {at}" if at else ""
        return (
            f"the density is flat along {direction} (unconstrained){there}, so that no normal stands for it. Give what "
            f"is flat a proper prior, leave out what the data cannot tell apart, or change the parametrisation; "
            f"Pathfinder and SVI need no curvature."
        )
    there = f", where {at} after {mode.steps} steps" if at else f" after {mode.steps} steps"
    return (
        f"no mode was found: the density still rises along {direction} (unconstrained){there}. Such a mode is at "
        f"infinity, as of the scale of a hierarchy that tends to zero: use another parametrisation (`N(0, 1)` latents "
        f"times the scale), a prior that keeps it finite, or Pathfinder or SVI."
    )
