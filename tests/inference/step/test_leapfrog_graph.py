"""Leapfrog steps of many chains: the same by every backend, reversible, and of the model's own density."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference.methods.pathfinder.target import posterior_target
from jensen.inference.step.density_graph import DensityGraph
from jensen.inference.step.leapfrog_graph import LeapfrogGraph, Motion

CHAINS = 6
DATA = {"x": torch.tensor([0.5, 2.0, -1.0, 0.25], dtype=torch.float64)}


def model(x: Any) -> None:
    loc = pyro.sample("loc", dist.Normal(torch.tensor(0.0), 3.0))
    scale = pyro.sample("scale", dist.Gamma(torch.tensor(2.0), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, scale), obs=x)


def untraceable(x: Any) -> None:
    loc = pyro.sample("loc", dist.Normal(torch.tensor(0.0), 3.0))
    scale = pyro.sample("scale", dist.Gamma(torch.tensor(2.0), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc if float(loc.detach().sum()) < 1e9 else -loc, scale), obs=x)


def factor(dense: bool, device: str = "cpu") -> torch.Tensor:
    found = torch.tensor([[0.7, 0.0], [-0.4, 1.3]], dtype=torch.float64, device=device)
    return found if dense else found.diagonal().contiguous()


def graph(program: Any, dense: bool, compile: bool | None, device: str = "cpu") -> LeapfrogGraph:
    data = {name: value.to(device) for name, value in DATA.items()}
    target = posterior_target(program, data, 0)
    found = LeapfrogGraph(DensityGraph(target.log_density.density), factor(dense, device), CHAINS)
    found.prepare(compile, target.centre, 100)
    return found


def start(graph: LeapfrogGraph) -> Motion:
    noise = torch.randn(2, CHAINS, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    v, p = noise.to(graph.factor.device)
    return graph.at(v)._replace(p=p)


def by_hand(graph: LeapfrogGraph, here: Motion, step_size: float, count: int) -> Motion:
    """In u, under the mass matrix that the coordinates stand for."""
    root = graph.factor.diag() if graph.factor.dim() == 1 else graph.factor
    u, momentum = here.v @ root.T, torch.linalg.solve(root.T, here.p.T).T
    value, gradient = graph.density.eagerly(u)
    for _ in range(count):
        momentum = momentum + 0.5 * step_size * gradient
        u = u + step_size * momentum @ root @ root.T
        value, gradient = graph.density.eagerly(u)
        momentum = momentum + 0.5 * step_size * gradient
    return Motion(torch.linalg.solve(root, u.T).T, momentum @ root, gradient @ root, value)


@pytest.mark.filterwarnings("ignore:The program cannot be vectorised")  # it must not be traced either
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("backend", ["eager", "trace", "c"])
def test_steps_are_those_of_the_formula(backend: str, dense: bool) -> None:
    program = untraceable if backend == "eager" else model
    made = graph(program, dense, compile=backend == "c")
    if backend == "c" and made.backend != "c":
        pytest.skip("there is no C compiler here")
    assert made.backend == backend
    here = start(made)
    before = [tensor.clone() for tensor in here]
    for count in (1, 2, 17):
        found = made(here, 0.05, count)
        for one, other in zip(found, by_hand(made, here, 0.05, count), strict=True):
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(one, other) for one, other in zip(here, before, strict=True))
    assert made.gradients == 1 + 1 + 2 + 17


def test_a_trajectory_goes_back_where_it_came_from() -> None:
    made = graph(model, True, compile=None)
    here = start(made)
    there = made(here, 0.3, 9)
    back = made(there._replace(p=-there.p), 0.3, 9)
    assert float((there.v - here.v).abs().min()) > 1e-3
    assert torch.allclose(back.v, here.v, atol=1e-9)
    assert torch.allclose(-back.p, here.p, atol=1e-9)


@pytest.mark.parametrize("compile", [True, False])
def test_other_coordinates_are_those_of_a_new_graph(compile: bool) -> None:
    changed, other = graph(model, False, compile), graph(model, False, compile)
    changed.set_factor(torch.tensor([0.1, 3.0], dtype=torch.float64))
    other = LeapfrogGraph(other.density, torch.tensor([0.1, 3.0], dtype=torch.float64), CHAINS)
    v = torch.linspace(-1.0, 1.0, 2 * CHAINS, dtype=torch.float64).reshape(CHAINS, 2)
    for one, two in zip(changed.at(v), other.at(v), strict=True):
        assert torch.allclose(one, two, rtol=1e-10)
    assert torch.allclose(changed.to_v(changed.to_u(v)), v)


def test_a_chain_without_a_value_leaves_the_others_alone() -> None:
    made = graph(model, True, compile=None)
    here = start(made)
    lost = here._replace(p=torch.where(torch.arange(CHAINS)[:, None] == 2, 1e200, here.p))
    found, expected = made(lost, 0.2, 5), made(here, 0.2, 5)
    others = torch.arange(CHAINS) != 2
    assert not bool(found.value[2].isfinite())
    assert torch.equal(found.v[others], expected.v[others])


@pytest.mark.gpu
@pytest.mark.parametrize("dense", [True, False])
def test_captured_steps_are_those_of_the_program(dense: bool) -> None:
    with torch.device("cuda"):
        made = graph(model, dense, compile=None, device="cuda")
        assert made.backend == "cudagraph"
        here = start(made)
        for count in (1, 7, 8, 19):
            for one, other in zip(made(here, 0.05, count), by_hand(made, here, 0.05, count), strict=True):
                assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)
