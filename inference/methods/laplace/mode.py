r"""The mode of a log density: quasi-Newton steps towards it, Newton steps at its end, and whether it is one.

A point is a mode with a normal if the Newton step there, :math:`\sqrt{g^\top H^{-1} g}`, is a small part of a standard
deviation, H is positive definite, and the density falls within two standard deviations along every eigenvector.
Saddles, and places from which the density rises within two standard deviations, are climbed away from.

Reference: Nocedal and Wright (2006), Numerical Optimization, chapters 3 and 6.
"""

from __future__ import annotations

__all__ = ["AT_REST", "FLAT", "RISING", "Mode", "find_mode"]

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...step.density_graph import DensityGraph
from ..pathfinder.quasi_newton import Point, climb, measured_hessian, positive_inverse
from .curvature import Curvature

FLAT, RISING = "flat", "rising"

_STEPS = 150  # of one climb, before the curvature is computed again
_CLIMBS = 12
_DONE = 1e-6  # nats that a quasi-Newton step would still bring
_NEWTON = 40
AT_REST = 1e-5  # standard deviations of a Newton step at a mode, in float64; mostly it is below 1e-8
_LEVEL = 1e-3  # of the same by each number's own curvature, where the Hessian cannot be inverted
_FAR, _STEEP = 20.0, 0.5  # spreads of the prior on a scale of logarithms or log odds, and nats a unit: still rising
_EXACT = 1e-10
_AWAY = 2.0  # standard deviations at which the density must have fallen, or as far as it has a value
_FALL = 0.025  # of what a normal's falls by
_RISE = 1e-3  # nats of a higher place, which is climbed from


@dataclass(frozen=True)
class Mode:
    """Where a climb ended.

    Attributes:
        u: ``(D,)``.
        value: log density there, nats.
        curvature: of the log density there.
        hessian: ``(D, D)`` of minus the log density.
        distance: to the top by a Newton step, standard deviations; infinite where there is none.
        steps: quasi-Newton and Newton steps made.
        fault: empty at a mode; ``"flat"`` where a direction has no curvature, ``"rising"`` where the density rises yet.
        direction: ``(D,)``, of the fault.
    """

    u: Tensor
    value: float
    curvature: Curvature
    hessian: Tensor
    distance: float = torch.inf
    steps: int = 0
    fault: str = ""
    direction: Tensor | None = None


def find_mode(log_density: DensityGraph, start: Tensor, spread: Tensor) -> Mode | None:
    """Climb from `start`; None where the density has no value there.

    Args:
        log_density: value and gradient of rows, and Hessians.
        start: ``(D,)``.
        spread: ``(D,)`` of the prior.
    """
    here = _evaluated(log_density, start)
    if here is None:
        return None
    steps, moved, found = 0, torch.zeros_like(start), None
    for _ in range(_CLIMBS):
        hessian = _hessian(log_density, here.u, spread)
        here = replace(here, inverse=positive_inverse(hessian, spread))
        if here.decrement >= _DONE:
            way = climb(log_density, here, steps=_STEPS)
            steps += len(way) - 1
            if len(way) > 1:
                moved, here = way[-1].u - here.u, way[-1]
                if len(way) > _STEPS or here.decrement > 1.0:
                    endless = _endless(log_density, start, here, moved, spread)
                    if endless is not None:
                        moved = endless
                        break
                continue
        found, made = _newton(log_density, here, hessian, spread)
        steps += made
        higher = _higher(log_density, found, spread)
        if higher is None:
            return replace(found, steps=steps)
        here, found = higher, None
    if found is None:
        hessian = _hessian(log_density, here.u, spread)
        found = Mode(here.u, here.value, Curvature(hessian, spread), hessian, fault=RISING, direction=moved)
    return replace(found, steps=steps)


def _evaluated(log_density: DensityGraph, u: Tensor) -> Point | None:
    values, gradients = log_density(u.unsqueeze(0))
    if not bool(torch.isfinite(values).all() and torch.isfinite(gradients).all()):
        return None
    return Point(u, float(values[0]), gradients[0], torch.empty(0))


def _hessian(log_density: DensityGraph, u: Tensor, spread: Tensor) -> Tensor:
    try:
        return log_density.hessian(u)
    except Exception:  # whatever a user's program raises when it is differentiated twice
        return measured_hessian(log_density, u, spread, len(u))


def _newton(log_density: DensityGraph, here: Point, hessian: Tensor, spread: Tensor) -> tuple[Mode, int]:
    """Newton steps from a place near a mode until rounding stops them, and what is found there."""
    trail: list[float] = []
    best = Mode(here.u, here.value, Curvature(hessian, spread), hessian)
    latest, gradient = best, here.gradient
    for _ in range(_NEWTON):
        if latest.curvature.factor is None:
            break
        step, distance = latest.curvature.newton_step(gradient)
        if distance < best.distance:
            best = replace(latest, distance=distance)
        stalled = len(trail) > 1 and distance > 0.85 * min(trail[-2:])
        trail.append(distance)
        if distance < _EXACT or _slow(trail) or (stalled and distance < AT_REST):
            break
        point = _stepped(log_density, latest, step, distance)
        if point is None:
            break
        hessian = _hessian(log_density, point.u, spread)
        latest, gradient = Mode(point.u, point.value, Curvature(hessian, spread), hessian), point.gradient
    if best.curvature.factor is None:
        slopes = gradient / best.curvature.roots
        steepest = int(slopes.abs().nan_to_num(0.0).argmax())
        if float(slopes[steepest].abs()) > _LEVEL:
            return replace(best, fault=RISING, direction=_unit(gradient, steepest)), len(trail)
        return replace(best, fault=FLAT, direction=best.curvature.flattest()[0]), len(trail)
    if _slow(trail):
        return replace(best, fault=FLAT, direction=best.curvature.flattest()[0]), len(trail)
    if best.distance > AT_REST:
        direction = best.curvature.newton_step(gradient)[0]
        return replace(best, fault=RISING, direction=direction), len(trail)
    return _with_falls(log_density, best), len(trail)


def _unit(like: Tensor, index: int) -> Tensor:
    return torch.zeros_like(like).index_fill_(0, torch.tensor(index, device=like.device), 1.0)


def _slow(trail: list[float]) -> bool:
    """Whether Newton steps shrink at the steady rate of a place where the curvature vanishes, and not ever faster."""
    last = trail[-8:]
    return len(last) == 8 and all(0.3 < later / before < 0.85 for before, later in itertools.pairwise(last))


def _stepped(log_density: DensityGraph, mode: Mode, step: Tensor, distance: float) -> Point | None:
    """The place after a Newton step, shortened where the density would fall or has no value."""
    for _ in range(20):
        point = _evaluated(log_density, mode.u + step)
        if point is not None and (distance < 0.01 or point.value >= mode.value):
            return point
        step = 0.25 * step
    return None


def _endless(log_density: DensityGraph, start: Tensor, here: Point, moved: Tensor, spread: Tensor) -> Tensor | None:
    """The direction in which the density rises without end, as far as can be told after a climb; or None.

    One is a logarithm or log odds that is far outside of the prior and is drawn further away; another a long way at
    whose end the slope is as at its beginning.
    """
    parts = zip(log_density.density.sites, log_density.density.shapes, strict=True)
    free = torch.cat([torch.full(shape, not site.is_real).reshape(-1) for site, shape in parts]).to(start.device)
    away = here.u - start
    out = free & (away.abs() > _FAR * spread.clamp(min=0.5)) & (away.sign() * here.gradient > _STEEP)
    if bool(out.any()):
        return torch.where(out, away, torch.zeros_like(away))
    slope = float(moved @ here.gradient)
    if slope > 0.0 and float(moved @ _hessian(log_density, here.u, spread) @ moved) < 1e-3 * slope:
        return moved
    return None


def _ends(log_density: DensityGraph, mode: Mode) -> tuple[Tensor, Tensor, Tensor]:
    """Places on both sides of every axis, ``(2 D, D)``, the density's fall to them and what a normal's is, ``(2 D,)``.

    They are two standard deviations away, or as far as the density has a value.
    """
    axes = mode.curvature.axes()
    axes = torch.cat([axes, -axes])
    away = torch.full_like(axes[:, 0], _AWAY)
    for _ in range(12):
        places = mode.u + away.unsqueeze(-1) * axes
        falls = mode.value - log_density(places)[0]
        if bool((known := torch.isfinite(falls)).all()):
            break
        away = torch.where(known, away, 0.3 * away)
    return places, falls.nan_to_num(nan=torch.inf), 0.5 * away.square()


def _with_falls(log_density: DensityGraph, mode: Mode) -> Mode:
    """The mode, or the axis along which the density does not fall."""
    _, falls, expected = _ends(log_density, mode)
    shares = (falls / expected).reshape(2, -1).min(0).values
    index = int(shares.argmin())
    if float(shares[index]) >= _FALL or float(falls.min()) < -_RISE:
        return mode
    return replace(mode, fault=FLAT, direction=mode.curvature.axes()[index])


def _higher(log_density: DensityGraph, mode: Mode, spread: Tensor) -> Point | None:
    """A place nearby where the density is higher than at what was taken for a mode, or None."""
    if mode.fault == FLAT and mode.curvature.finite:
        direction, value = mode.curvature.flattest()
        if value > -mode.curvature.least:
            return None
        direction = direction / (direction / spread).abs().max()
        places = torch.stack([mode.u + size * direction for size in (0.1, -0.1, 1.0, -1.0)])
        values = log_density(places)[0]
    elif not mode.fault:
        places, falls, _ = _ends(log_density, mode)
        values = mode.value - falls
    else:
        return None
    values = values.nan_to_num(nan=-torch.inf, posinf=-torch.inf)
    best = int(values.argmax())
    higher = float(values[best]) > mode.value + (_RISE if not mode.fault else 0.0)
    return _evaluated(log_density, places[best]) if higher else None
