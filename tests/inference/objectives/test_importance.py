"""IWAE and Renyi: identities, order in K and alpha, and trap 2 (weights stay unscaled under mini-batches)."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch

from jensen.inference import IWAE, ConfigurationError, DReG, ModelError, Renyi, Trace_ELBO, minibatch
from jensen.inference.pair.program import Program


def seeded(objective, program, data, size=None, seed=7):
    torch.manual_seed(seed)
    with minibatch(size or len(data["x"])), torch.no_grad():
        return float(objective.bound(program, data).bound)


@pytest.mark.parametrize("objective", [IWAE(1), Renyi(0.0, 1), Renyi(0.7, 1), Renyi(1.0, 1), DReG(1)], ids=repr)
def test_one_particle_is_the_elbo_with_its_gradient(objective, gaussian, numerics):
    model, data, _ = gaussian
    program = Program(model)
    assert seeded(objective, program, data) == pytest.approx(seeded(Trace_ELBO(), program, data), rel=1e-12)
    if not isinstance(objective, DReG):
        results = []
        for each in (objective, Trace_ELBO()):
            torch.manual_seed(1)
            results.append(numerics.flat(numerics.gradient(each, program, data, program.parameters())))
        torch.testing.assert_close(*results)


def test_alpha_zero_is_iwae_and_alpha_near_one_is_the_elbo(gaussian, numerics):
    model, data, _ = gaussian
    program = Program(model)
    assert seeded(Renyi(0.0, 8), program, data) == seeded(IWAE(8), program, data)
    elbo = seeded(Trace_ELBO(8), program, data)
    assert seeded(Renyi(1.0, 8), program, data) == pytest.approx(elbo, rel=1e-12)
    # the slope at alpha = 1 is minus half the variance of the log weights, down to steps at the edge of the arithmetic
    torch.manual_seed(7)
    slope = -0.5 * numerics.terms(Trace_ELBO(8), program, data, 8).log_weight_local.var(0, correction=0).sum()
    for step in (1e-5, -1e-5, 1e-8, -1e-8):
        found = (seeded(Renyi(1.0 + step, 8), program, data) - elbo) / step
        assert found == pytest.approx(float(slope.detach()), rel=1e-3)


def test_bounds_fall_with_alpha_and_grow_with_particles(gaussian, numerics):
    model, data, evidence = gaussian
    program = Program(model)
    values = [seeded(Renyi(alpha, 64), program, data) for alpha in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert values == sorted(values, reverse=True)
    means = [float(numerics.bounds(IWAE(k), program, data, repeats=2000 // k).mean()) for k in (1, 4, 16, 500)]
    assert means == sorted(means)
    assert means[0] < evidence - 0.5
    assert means[-1] == pytest.approx(evidence, abs=0.3)


def test_the_bound_is_per_datum_not_joint(gaussian, numerics):
    """The log-mean is taken for each datum: far tighter than that of the product of weights."""
    model, data, _ = gaussian
    program = Program(model)
    terms = numerics.terms(IWAE(20), program, data, 20)
    weights = terms.log_weight_local
    assert weights.shape == (20, 6)
    expected = (torch.logsumexp(weights, 0) - math.log(20)).sum()
    assert float(IWAE(20).reduce(terms, 1.0).bound) == pytest.approx(float(expected.detach()))


@pytest.mark.parametrize("objective", [IWAE(10), Renyi(0.5, 10), DReG(10)], ids=repr)
def test_the_total_does_not_depend_on_the_batch_size(objective, gaussian, numerics):
    model, data, _ = gaussian
    program = Program(model)
    full = numerics.bounds(objective, program, data, repeats=400)
    for size in (1, 2, 3):
        parts = [{"x": rows} for rows in data["x"].split(size)]
        values = torch.stack([numerics.bounds(objective, program, part, 400, data_size=6) for part in parts])
        numerics.agree(values.mean(0), full)


def test_pyro_tempers_the_weights_of_a_mini_batch_and_jensen_does_not(numerics):
    """Trap 2: with N / B = 5 Pyro's Renyi "bound" on a toy exceeds the evidence; jensen's stays below it."""
    x = torch.linspace(-2.0, 2.0, 8) + 1.0

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.2 * x, 1.0))

    evidence = 5.0 * float(dist.Normal(0.0, math.sqrt(2.0)).log_prob(x).sum())
    theirs = pyro.infer.RenyiELBO(alpha=0.0, num_particles=50, vectorize_particles=True, max_plate_nesting=1)
    with minibatch(40):
        broken = -torch.tensor([theirs.loss(model, guide, x) for _ in range(40)])
    ours = numerics.bounds(IWAE(50), Program(model, guide), {"x": x}, repeats=200, data_size=40)
    numerics.at_most(ours, evidence)
    assert float(ours.mean()) == pytest.approx(evidence, abs=1.0)
    assert float(broken.mean()) > evidence + 3.0


def test_iwae_with_a_global_latent_is_joint_and_refuses_mini_batches(regression, numerics):
    model, data, evidence = regression
    from jensen.inference.guides import build_guide

    program = Program(model, build_guide("normal", model, data))
    means = [float(numerics.bounds(IWAE(k), program, data, repeats=4000 // k).mean()) for k in (1, 20, 1000)]
    assert means == sorted(means)
    assert means[-1] < evidence + 0.5
    half = {name: value[:4] for name, value in data.items()}
    with minibatch(8), pytest.raises(ModelError, match=r"global latents \(`w`\) is a bound only on the full batch"):
        IWAE(4).bound(program, half)


def test_a_global_site_that_follows_local_draws_makes_the_weight_joint(numerics):
    """`total` depends on every `z`, so the weights of single data do not exist."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        pyro.sample("total", dist.Normal(z.sum(), 0.5), obs=torch.tensor(4.0))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.ones(()), 1.0))

    x = torch.tensor([0.3, -0.4, 0.8])
    covariance = torch.eye(4)
    covariance[3, 3] = 0.25 + 3.0
    covariance[3, :3] = covariance[:3, 3] = 1.0
    covariance[:3, :3] += torch.eye(3)
    observed = torch.cat([x, torch.tensor([4.0])])
    evidence = float(dist.MultivariateNormal(torch.zeros(4), covariance).log_prob(observed))
    program = Program(model, guide)
    assert program.structure({"x": x}).is_coupled
    values = numerics.bounds(IWAE(2000), program, {"x": x}, repeats=20)
    numerics.at_most(values, evidence)
    assert float(values.mean()) == pytest.approx(evidence, abs=0.05)
    with minibatch(6), pytest.raises(ModelError, match=r"global sites \(`total`\)"):
        IWAE(4).bound(program, {"x": x})


def test_weights_of_a_program_that_scales_itself_are_refused(numerics):
    def model(x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.5):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.5):
            pyro.sample("z", dist.Normal(x, 1.0))

    structure = Program(model, guide).structure({"x": torch.ones(3)})
    for objective in (IWAE(3), Renyi(0.5, 3), DReG(3)):
        with pytest.raises(ModelError, match=r"The program scales the site `z` itself"):
            objective.check(structure)


@pytest.mark.parametrize(("alpha", "word"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_alpha_must_be_finite(alpha, word):
    with pytest.raises(ConfigurationError, match=f"`alpha` must be a finite number, got {word}"):
        Renyi(alpha)


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_particles_must_be_a_positive_whole_number(count):
    with pytest.raises(ConfigurationError, match="`num_particles` must be a positive whole number"):
        IWAE(count)
