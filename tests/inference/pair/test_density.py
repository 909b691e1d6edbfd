"""The log density of unconstrained latents against closed forms."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import biject_to, constraints

from jensen.inference.pair.density import LatentDensity
from jensen.inference.pair.latents import draw_latents, examine_latents
from jensen.inference.step.density_graph import DensityGraph

pytestmark = pytest.mark.usefixtures("float64")


def _density(model: Any, **batch: torch.Tensor) -> LatentDensity:
    return LatentDensity(model, batch, examine_latents(model, batch))


def _normal(x: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(1.0, 3.0))
    s = pyro.sample("s", dist.Gamma(2.0, 0.5))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, s), obs=x)


def test_prior_with_its_jacobian_and_likelihood_apart() -> None:
    x = torch.randn(7)
    u = torch.randn(5, 2)
    prior, likelihood = _density(_normal, x=x)(u)
    mu, log_s = u.unbind(-1)
    s = log_s.exp()
    expected = dist.Normal(1.0, 3.0).log_prob(mu) + dist.Gamma(2.0, 0.5).log_prob(s) + log_s
    torch.testing.assert_close(prior, expected)
    torch.testing.assert_close(likelihood, dist.Normal(mu, s).log_prob(x[:, None]).sum(0))


def test_it_integrates_to_the_evidence() -> None:
    def model(x: torch.Tensor) -> None:
        p = pyro.sample("p", dist.Beta(2.0, 3.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(p), obs=x)

    x = torch.tensor([1.0, 0.0, 1.0, 1.0])
    grid = torch.linspace(-12.0, 12.0, 4_001)
    prior, likelihood = _density(model, x=x)(grid.unsqueeze(-1))
    found = torch.trapezoid((prior + likelihood).exp(), grid)
    beta = lambda a, b: math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))  # noqa: E731
    assert float(found) == pytest.approx(beta(5, 4) / beta(2, 3), rel=1e-8)
    assert float(torch.trapezoid(prior.exp(), grid)) == pytest.approx(1.0, rel=1e-8)


def test_discrete_latents_are_summed_out() -> None:
    def model(x: torch.Tensor) -> None:
        weights = pyro.sample("weights", dist.Dirichlet(torch.tensor([1.0, 2.0])))
        scale = pyro.sample("scale", dist.HalfNormal(2.0))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(weights), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(torch.tensor([-1.0, 2.0])[c], scale), obs=x)

    x, u = torch.randn(9), torch.randn(4, 2)
    prior, likelihood = _density(model, x=x)(u)
    bijection = biject_to(constraints.simplex)
    weights, scale = bijection(u[:, :1]), u[:, 1].exp()
    terms = torch.stack(
        [weights[:, k].log() + dist.Normal(at, scale).log_prob(x[:, None]) for k, at in enumerate((-1.0, 2.0))]
    )
    torch.testing.assert_close(prior + likelihood - _prior(u, bijection), terms.logsumexp(0).sum(0))


def _prior(u: torch.Tensor, bijection: Any) -> torch.Tensor:
    weights = bijection(u[:, :1])
    simplex = dist.Dirichlet(torch.tensor([1.0, 2.0])).log_prob(weights)
    simplex = simplex + bijection.log_abs_det_jacobian(u[:, :1], weights)
    return simplex + dist.HalfNormal(2.0).log_prob(u[:, 1].exp()) + u[:, 1]


def test_traced_values_and_gradients_are_those_of_autograd() -> None:
    density = _density(_normal, x=torch.randn(6))
    graph = DensityGraph(density)
    for rows in (1, 4):
        u = torch.randn(rows, 2)
        value, gradient = graph(u)
        leaf = u.clone().requires_grad_()
        expected = sum(density(leaf))
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), leaf)[0])
        other = torch.randn(rows, 2)  # the trace holds no numbers of its example
        torch.testing.assert_close(graph(other)[0], sum(density(other)))
    assert graph.traced


@pytest.mark.parametrize("count", [1, 3, 7])
def test_rows_come_in_lots_of_one_size(count: int) -> None:
    density = _density(_normal, x=torch.randn(6))
    u = torch.randn(count, 2)
    for one, other in zip(DensityGraph(density, 3)(u), DensityGraph(density)(u), strict=True):
        torch.testing.assert_close(one, other)


def test_the_hessian_is_that_of_autograd() -> None:
    density, u = _density(_normal, x=torch.randn(6)), torch.randn(2)
    expected = torch.autograd.functional.hessian(lambda u: -sum(density(u.unsqueeze(0))).sum(), u)
    torch.testing.assert_close(DensityGraph(density).hessian(u), expected)


def test_a_program_that_branches_on_values_runs_eagerly() -> None:
    def model(x: torch.Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        scale = 1.0 if float(x.sum()) > 0 else 2.0
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mu, scale), obs=x)

    x = torch.ones(3)
    graph = DensityGraph(_density(model, x=x))
    value, gradient = graph(torch.zeros(1, 1))
    assert float(value[0]) == pytest.approx(
        float(dist.Normal(0.0, 1.0).log_prob(x).sum() - 0.5 * math.log(2 * math.pi))
    )
    assert float(gradient[0, 0]) == pytest.approx(3.0)


def test_the_start_is_the_middle_of_the_prior_whatever_draws_say() -> None:
    def model(x: torch.Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.full((3,), 5.0), 100.0).to_event(1))
        s = pyro.sample("s", dist.HalfCauchy(2.0))
        r = pyro.sample("r", dist.Gamma(3.0, 2.0))
        p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w.sum() + p[0], s * r), obs=x)

    x = torch.zeros(2)
    latents = examine_latents(model, {"x": x})
    starts = {site.name: site.start for site in latents.continuous}
    torch.testing.assert_close(starts["w"], torch.full((3,), 5.0))
    torch.testing.assert_close(starts["s"], torch.tensor(2.0))  # the median of a distribution without a mean
    torch.testing.assert_close(starts["r"], torch.tensor(1.5))
    torch.testing.assert_close(starts["p"], torch.full((3,), 1 / 3))
    assert draw_latents(model, {"x": x}, latents, 4).shape == (4, 3 + 1 + 1 + 2)
