r"""Maximise a smooth log density by BFGS with a curvature that is measured, and remember the way.

The inverse Hessian of :math:`-\log \tilde p` is started at a measured Hessian with the absolute values of its
eigenvalues, so that neither units nor correlations of the latents slow the way down, and updated by

.. math:: H \leftarrow (I - \rho s y^\top) H (I - \rho y s^\top) + \rho s s^\top, \qquad \rho = 1 / s^\top y

with s the step and y the change of the gradient of :math:`-\log \tilde p`, wherever :math:`s^\top y > 0`.

References: Nocedal and Wright (2006), Numerical Optimization, chapters 3 and 6.
Dauphin et al. (2014), Identifying and attacking the saddle point problem in high-dimensional non-convex optimization,
https://arxiv.org/abs/1406.2572
"""

from __future__ import annotations

__all__ = ["Point", "climb", "measured_hessian", "positive_inverse"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], tuple[Tensor, Tensor]]

_ARMIJO = 1e-4
_SHRINK = 0.25
_MOST_TRIALS = 25
_FLAT = 1e-10  # of the largest curvature: less is no curvature


@dataclass(frozen=True)
class Point:
    """A place on the way.

    Attributes:
        u: ``(D,)``.
        value: log density, nats.
        gradient: ``(D,)``.
        inverse: the inverse Hessian there, as far as it is known, ``(D, D)``.
    """

    u: Tensor
    value: float
    gradient: Tensor
    inverse: Tensor

    @property
    def decrement(self) -> float:
        r"""The rise in nats that a Newton step would bring, :math:`\tfrac12 g^\top H g`."""
        return 0.5 * float(self.gradient @ self.inverse @ self.gradient)


def climb(log_density: LogDensity, start: Point, *, steps: int, tolerance: float = 1e-8) -> list[Point]:
    """The way up from `start`, which it begins with, until a Newton step would bring less than `tolerance` nats.

    Args:
        log_density: value and gradient of rows ``(1, D)``.
        start: where to begin.
        steps: the most steps.
        tolerance: in nats.
    """
    way = [start]
    for _ in range(steps):
        here = way[-1]
        if here.decrement < tolerance:
            break
        found = _line_search(log_density, here)
        if found is None:
            break
        u, value, gradient = found
        way.append(Point(u, value, gradient, _updated(here.inverse, u - here.u, here.gradient - gradient)))
    return way


def _line_search(log_density: LogDensity, here: Point) -> tuple[Tensor, float, Tensor] | None:
    """A step along the quasi-Newton direction with a sufficient rise, or None where there is none to be seen."""
    direction = here.inverse @ here.gradient
    slope = float(here.gradient @ direction)
    size = 1.0
    for _ in range(_MOST_TRIALS):
        u = here.u + size * direction
        values, gradients = log_density(u.unsqueeze(0))
        value = float(values[0])
        finite = value - value == 0.0 and bool(torch.isfinite(gradients).all())
        if finite and value >= here.value + _ARMIJO * size * slope:
            return u, value, gradients[0]
        if finite:  # the top of the parabola through both ends
            top = 0.5 * slope * size / (slope * size + here.value - value) * size
            size = min(max(top, 0.1 * size), 0.5 * size)
        else:
            size *= _SHRINK
    return None


def _updated(inverse: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """The BFGS update of the inverse Hessian; without a change where the curvature along the step is not positive."""
    curvature = float(step @ change)
    if not curvature > 1e-12 * float(step.norm() * change.norm()):
        return inverse
    along = inverse @ change
    ratio = (1.0 + float(change @ along) / curvature) / curvature
    return inverse + ratio * torch.outer(step, step) - (torch.outer(along, step) + torch.outer(step, along)) / curvature


def measured_hessian(log_density: LogDensity, u: Tensor, spread: Tensor, rows: int) -> Tensor:
    r"""The Hessian of :math:`-\log \tilde p` at `u`, ``(D, D)``, by central differences of the gradient.

    Args:
        log_density: value and gradient of rows ``(rows, D)``.
        u: ``(D,)``.
        spread: ``(D,)`` how far each number varies, roughly: the differences are over a small part of it.
        rows: how many rows are evaluated at once.
    """
    dim = len(u)
    widths = 1e-4 * spread
    moves = torch.cat([widths.diag(), -widths.diag()])
    gradients = []
    for part in moves.split(rows):
        shifted = u + torch.cat([part, part.new_zeros(rows - len(part), dim)])
        gradients.append(log_density(shifted)[1][: len(part)])
    up, down = torch.cat(gradients).split(dim)
    hessian = (down - up) / (2.0 * widths).unsqueeze(-1)
    return 0.5 * (hessian + hessian.mT)


def positive_inverse(hessian: Tensor, prior: Tensor) -> Tensor:
    r"""The inverse of the matrix with the Hessian's eigenvectors and the absolute values of its eigenvalues.

    Eigenvectors are those in units of each number's own curvature, or of the prior's spread where that is less: so that
    a scale which tends to zero does not hide the others. Where a number is not finite, and where there is no curvature,
    the spread of the prior stands for it.

    Args:
        hessian: ``(D, D)``.
        prior: ``(D,)`` the spread of each number where nothing is known.
    """
    if not bool(torch.isfinite(hessian).all()):
        return prior.square().diag()
    units = prior.minimum(hessian.diagonal().abs().rsqrt())
    values, vectors = torch.linalg.eigh(hessian * units.unsqueeze(-1) * units)
    sizes = values.abs()
    sizes = sizes.clamp(min=max(_FLAT * float(sizes.max()), 1e-8))
    whitened = (vectors / sizes) @ vectors.mT
    return whitened * units.unsqueeze(-1) * units
