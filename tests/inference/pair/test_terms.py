"""The terms of every site: shapes, values, scaling, particles, given values."""

from __future__ import annotations

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from jensen.inference import Trace_ELBO, TraceMeanField_ELBO, minibatch
from jensen.inference.pair.program import Program
from jensen.inference.pair.randomness.noise import Noise
from jensen.inference.pair.terms import evaluate


@pytest.fixture(autouse=True)
def _float64(float64):
    pass


class Pair(nn.Module):
    """A global mean, local effects in two plates, and an auxiliary site with its image."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.4))

    def model(self, x):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("image", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x), dim=-2), pyro.plate("parts", x.shape[1], dim=-1):
            z = pyro.sample("z", dist.Normal(mean.sum(), 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(self, x):
        hint = pyro.sample("hint", dist.Normal(torch.zeros(()), 1.0), infer={"is_auxiliary": True})
        pyro.sample("image", dist.Delta(hint))
        pyro.sample("mean", dist.Normal(hint * torch.ones(2), 0.7).to_event(1))
        with pyro.plate("data", len(x), dim=-2), pyro.plate("parts", x.shape[1], dim=-1):
            pyro.sample("z", dist.Normal(self.weight * x, 0.6))


@pytest.fixture
def pair():
    module = Pair()
    return Program(module.model, module.guide), {"x": torch.randn(4, 3)}


@pytest.mark.parametrize("count", [1, 5])
def test_shapes_and_values(pair, count):
    program, batch = pair
    terms = evaluate(program, batch, num_particles=count)
    x, values = batch["x"], terms.values
    shapes = {"hint": (count,), "image": (count,), "mean": (count, 2), "z": (count, 4, 3)}
    assert {k: tuple(v.shape) for k, v in values.items()} == shapes
    mean, z, hint = values["mean"], values["z"], values["hint"]
    sites = terms.sites
    assert {n: s.kind for n, s in sites.items()} == {
        "mean": "latent",
        "image": "latent",
        "z": "latent",
        "x": "observed",
        "hint": "auxiliary",
    }
    torch.testing.assert_close(sites["mean"].log_p, dist.Normal(0.0, 1.0).log_prob(mean).sum(-1))
    torch.testing.assert_close(sites["mean"].log_q, dist.Normal(hint.unsqueeze(-1), 0.7).log_prob(mean).sum(-1))
    center = mean.sum(-1)[:, None, None]
    torch.testing.assert_close(sites["z"].log_p, dist.Normal(center, 1.0).log_prob(z).sum(-1))
    torch.testing.assert_close(sites["z"].log_q, dist.Normal(0.4 * x, 0.6).log_prob(z).sum(-1))
    torch.testing.assert_close(terms.log_likelihood, dist.Normal(z, 0.5).log_prob(x).sum(-1))
    torch.testing.assert_close(terms.log_weight_local, sites["z"].log_ratio + sites["x"].log_p)
    shared = sites["mean"].log_ratio + sites["image"].log_ratio - sites["hint"].log_q
    torch.testing.assert_close(terms.log_weight_global, shared)
    assert terms.log_weight_local.shape == (count, 4) and terms.log_weight_global.shape == (count,)


def test_particles_are_independent(pair):
    program, batch = pair
    values = evaluate(program, batch, num_particles=400).values
    assert len(values["hint"].unique()) == 400
    correlation = torch.corrcoef(torch.stack([values["z"][:-1, 0, 0], values["z"][1:, 0, 0]]))[0, 1]
    assert abs(float(correlation.detach())) < 4.5 / 20


def test_terms_are_never_scaled(pair):
    program, batch = pair
    plain = evaluate(program, batch, seed=1)
    with minibatch(40):
        scaled = evaluate(program, batch, seed=1)
    assert (plain.scale, scaled.scale) == (1.0, 10.0)
    torch.testing.assert_close(scaled.log_weight_local, plain.log_weight_local)


def test_a_seed_is_for_one_call(pair):
    program, batch = pair
    state = torch.get_rng_state()
    first, second = (evaluate(program, batch, num_particles=3, seed=5).values["z"] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, evaluate(program, batch, num_particles=3, seed=6).values["z"])


def test_given_values_replace_draws(pair):
    program, batch = pair
    drawn = evaluate(program, batch, num_particles=3)
    again = evaluate(program, batch, num_particles=3, values={k: v.detach() for k, v in drawn.values.items()})
    torch.testing.assert_close(again.log_weight_local, drawn.log_weight_local)
    torch.testing.assert_close(again.log_weight_global, drawn.log_weight_global)
    some = evaluate(program, batch, num_particles=3, values={"mean": torch.zeros(3, 2)})
    assert float(some.values["mean"].abs().sum()) == 0.0 and some.values["z"].requires_grad


def test_analytic_terms_take_the_place_of_draws(pair):
    program, batch = pair
    terms = evaluate(program, batch, num_particles=3, analytic_kl=True)
    site = terms.sites["z"]
    center = terms.values["mean"].sum(-1)[:, None, None].expand(3, 4, 3)
    exact = torch.distributions.kl_divergence(dist.Normal(0.4 * batch["x"], 0.6), dist.Normal(center, 1.0)).sum(-1)
    torch.testing.assert_close(site.kl, exact)
    torch.testing.assert_close(site.log_ratio, -exact)


def test_terms_per_dimension_add_up():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.unsqueeze(-1) * torch.ones(3), 0.5).to_event(1))

    program, batch = Program(model, guide), {"x": torch.randn(4)}
    site = evaluate(program, batch, num_particles=2, per_dimension=True).sites["z"]
    assert site.log_p_dims.shape == site.log_q_dims.shape == (2, 4, 3)
    torch.testing.assert_close(site.log_p_dims.sum(-1), site.log_p)
    torch.testing.assert_close(site.log_q_dims.sum(-1), site.log_q)
    site = evaluate(program, batch, num_particles=2, per_dimension=True, analytic_kl=True).sites["z"]
    torch.testing.assert_close(site.kl_dims.sum(-1), site.kl)


def test_a_single_datum(pair):
    program, batch = pair
    terms = evaluate(program, {"x": batch["x"][:1]}, num_particles=2)
    assert terms.log_weight_local.shape == (2, 1)


# -- particles: vmap and the loop ------------------------------------------------------------


def test_the_loop_reads_the_same_noise_as_vmap(pair):
    program, batch = pair
    noise = Noise(torch.randn(4, 1 + 2 + 12), torch.empty(4, 0))
    fast = evaluate(program, batch, num_particles=4, noise=noise)
    program.loop_over_particles = True
    slow = evaluate(program, batch, num_particles=4, noise=noise)
    torch.testing.assert_close(fast.log_weight_local, slow.log_weight_local)
    torch.testing.assert_close(fast.values, slow.values)


def test_the_loop_has_the_same_law_as_vmap(pair):
    program, batch = pair
    draws = []
    for loop in (False, True):
        program.loop_over_particles = loop
        draws.append(evaluate(program, batch, num_particles=600).log_weight_local.detach())
    gap = (draws[0].mean(0) - draws[1].mean(0)).abs()
    assert bool((gap < 4.5 * ((draws[0].var(0) + draws[1].var(0)) / 600).sqrt()).all())


def simplex_model(x):
    mix = pyro.sample("mix", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("data", len(x)):
        share = pyro.sample("share", dist.Beta(torch.tensor(2.0), torch.tensor(2.0)))
        rate = pyro.sample("rate", dist.Gamma(torch.tensor(2.0), torch.tensor(2.0)))
        pyro.sample("x", dist.Normal(share * mix[0] + mix[1] * rate, 1.0), obs=x)


class SimplexGuide(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix, self.rest = nn.Parameter(torch.tensor([0.1, 0.3, -0.2])), nn.Parameter(torch.zeros(2, 4))

    def forward(self, x):
        pyro.sample("mix", dist.Dirichlet(self.mix.exp()))
        with pyro.plate("data", len(x)):
            a = self.rest.exp()
            pyro.sample("share", dist.Beta(a[:, 0], a[:, 1]))
            pyro.sample("rate", dist.Gamma(a[:, 2], a[:, 3]))


def test_dirichlet_beta_and_gamma_are_vectorised_with_the_right_law_and_gradient():
    guide, batch = SimplexGuide(), {"x": torch.tensor([0.3, 1.5])}
    found = []
    for loop in (False, True):
        program = Program(simplex_model, guide)
        program.loop_over_particles = loop
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            terms = evaluate(program, batch, num_particles=1500, seed=1)
        assert program.loop_over_particles is loop
        assert float((terms.values["mix"].detach().sum(-1) - 1).abs().max()) < 1e-12
        moments = [terms.values[n].detach().flatten(1) for n in ("mix", "share", "rate")]
        moments = torch.cat([m**p for m in moments for p in (1, 2)], 1)
        gradients = []
        for objective in (Trace_ELBO(20), TraceMeanField_ELBO(20)):
            for _ in range(25):
                bound = objective.bound(program, batch)
                grads = torch.autograd.grad(bound.surrogate, list(guide.parameters()))
                gradients.append(torch.cat([g.flatten() for g in grads]))
        found.append((moments, torch.stack(gradients)))
    for fast, slow in zip(*found, strict=True):
        gap = (fast.mean(0) - slow.mean(0)).abs()
        assert bool((gap < 4.5 * (fast.var(0) / len(fast) + slow.var(0) / len(slow)).sqrt()).all())


def test_what_vmap_cannot_run_goes_one_by_one_with_one_warning():
    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        loc = z if z > 0 else 2 * z  # control flow on a drawn value
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))

    program, batch = Program(model, guide), {"x": torch.randn(3)}
    with pytest.warns(UserWarning, match="cannot be vectorised over particles, so they are run one by one"):
        terms = evaluate(program, batch, num_particles=4)
    assert terms.log_weight_local.shape == (4, 3) and len(terms.values["z"].unique()) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(program, batch, num_particles=4)
