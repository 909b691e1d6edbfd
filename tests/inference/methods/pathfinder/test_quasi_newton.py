"""The climb: its end, its curvature, and what it does where the density ends."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from jensen.inference.methods.pathfinder.quasi_newton import Point, climb, measured_hessian, positive_inverse

pytestmark = pytest.mark.usefixtures("float64")


class Quadratic:
    """``-(u - m)' P (u - m) / 2``, badly scaled and correlated."""

    def __init__(self, dim: int) -> None:
        generator = torch.Generator().manual_seed(dim)
        root = torch.randn(dim, dim, generator=generator) * torch.logspace(-3, 3, dim)
        self.precision = root @ root.mT + torch.eye(dim)
        self.mode = torch.logspace(0, 3, dim)
        self.calls = 0

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        gradient = -(u - self.mode) @ self.precision
        return 0.5 * ((u - self.mode) * gradient).sum(-1), gradient


def _start(density: object, u: Tensor, inverse: Tensor | None = None) -> Point:
    values, gradients = density(u.unsqueeze(0))  # type: ignore[operator]
    return Point(u, float(values[0]), gradients[0], torch.eye(len(u)) if inverse is None else inverse)


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_differences_of_gradients_are_the_hessian(dim: int) -> None:
    density = Quadratic(dim)
    found = measured_hessian(density, torch.zeros(dim), torch.ones(dim), rows=4)
    torch.testing.assert_close(found, density.precision, rtol=1e-6, atol=1e-3)


def test_with_the_measured_curvature_a_quadratic_takes_one_step() -> None:
    density = Quadratic(6)
    hessian = measured_hessian(density, torch.zeros(6), torch.ones(6), rows=4)
    way = climb(density, _start(density, torch.zeros(6), positive_inverse(hessian, torch.full((6,), 1e3))), steps=20)
    assert len(way) <= 4
    torch.testing.assert_close(way[-1].u, density.mode, rtol=1e-5, atol=1e-5)


def test_without_it_the_curvature_is_learned() -> None:
    density = Quadratic(2)
    way = climb(density, _start(density, torch.zeros(2)), steps=200, tolerance=1e-12)
    torch.testing.assert_close(way[-1].u, density.mode, rtol=1e-4, atol=1e-4)
    assert all(later.value >= earlier.value for earlier, later in itertools.pairwise(way))
    torch.testing.assert_close(way[-1].inverse @ density.precision, torch.eye(2), rtol=0.05, atol=0.05)


def test_the_curved_valley_of_rosenbrock() -> None:
    def density(u: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = u.detach().requires_grad_()
            a, b = leaf.unbind(-1)
            value = -((1 - a) ** 2) - 100 * (b - a**2) ** 2
            return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]

    way = climb(density, _start(density, torch.tensor([-1.2, 1.0])), steps=200, tolerance=1e-12)
    torch.testing.assert_close(way[-1].u, torch.ones(2), rtol=1e-4, atol=1e-4)


def test_steps_stay_where_the_density_has_a_value() -> None:
    def density(u: Tensor) -> tuple[Tensor, Tensor]:  # of a Gamma(5, 1) at u, nowhere below zero
        return 4 * u.log().sum(-1) - u.sum(-1), 4 / u - 1

    way = climb(density, _start(density, torch.tensor([0.1]), torch.tensor([[50.0]])), steps=100, tolerance=1e-12)
    assert all(float(point.u) > 0 for point in way)
    torch.testing.assert_close(way[-1].u, torch.tensor([4.0]), rtol=1e-5, atol=1e-5)


def test_directions_without_curvature_have_the_spread_of_the_prior() -> None:
    spread = torch.tensor([3.0, 0.5])
    flat = positive_inverse(torch.tensor([[4.0, 0.0], [0.0, float("nan")]]), spread)
    torch.testing.assert_close(flat, spread.square().diag())
    saddle = positive_inverse(torch.tensor([[4.0, 0.0], [0.0, -9.0]]), spread)
    torch.testing.assert_close(saddle, torch.tensor([[0.25, 0.0], [0.0, 1 / 9]]))
