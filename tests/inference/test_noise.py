"""Draws as an input: recorded, replayed, and safe under vmap."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch

from jensen.inference.noise import Noise, NoiseLayout, record_noise, replay_noise, vmap_safe_noise
from jensen.inference.program import Program
from jensen.inference.terms import evaluate

CONTINUOUS = {
    "normal": (lambda: dist.Normal(torch.tensor(1.0), torch.tensor(2.0)), scipy.stats.norm(1, 2)),
    "uniform": (lambda: dist.Uniform(torch.tensor(-1.0), torch.tensor(3.0)), scipy.stats.uniform(-1, 4)),
    "exponential": (lambda: dist.Exponential(torch.tensor(2.0)), scipy.stats.expon(scale=0.5)),
    "cauchy": (lambda: dist.Cauchy(torch.tensor(1.0), torch.tensor(0.5)), scipy.stats.cauchy(1, 0.5)),
    "laplace": (lambda: dist.Laplace(torch.tensor(1.0), torch.tensor(0.5)), scipy.stats.laplace(1, 0.5)),
    "half_normal": (lambda: dist.HalfNormal(torch.tensor(2.0)), scipy.stats.halfnorm(scale=2)),
    "half_cauchy": (lambda: dist.HalfCauchy(torch.tensor(2.0)), scipy.stats.halfcauchy(scale=2)),
    "log_normal": (
        lambda: dist.LogNormal(torch.tensor(0.3), torch.tensor(0.5)),
        scipy.stats.lognorm(0.5, scale=math.exp(0.3)),
    ),
    "gumbel": (lambda: dist.Gumbel(torch.tensor(1.0), torch.tensor(2.0)), scipy.stats.gumbel_r(1, 2)),
    "weibull": (lambda: dist.Weibull(torch.tensor(2.0), torch.tensor(1.5)), scipy.stats.weibull_min(1.5, scale=2)),
    "logistic": (
        lambda: dist.TransformedDistribution(
            dist.Uniform(torch.tensor(0.0), 1.0), [dist.transforms.SigmoidTransform().inv]
        ),
        scipy.stats.logistic(),
    ),
}
GAMMAS = {
    "gamma": (lambda: dist.Gamma(torch.tensor(0.7), torch.tensor(2.0)), scipy.stats.gamma(0.7, scale=0.5)),
    "student": (lambda: dist.StudentT(torch.tensor(4.0)), scipy.stats.t(4)),
}


@pytest.fixture(autouse=True)
def _float64(float64):
    pass


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # which `evaluate` silences
@pytest.mark.parametrize("name", [*CONTINUOUS, *GAMMAS])
def test_draws_under_vmap_follow_their_law_and_differ_by_particle(name):
    build, law = {**CONTINUOUS, **GAMMAS}[name]

    def draw(_):
        with vmap_safe_noise():
            return build().expand([4]).sample()

    draws = torch.vmap(draw, randomness="different")(torch.empty(1000, 0)).flatten()
    assert scipy.stats.kstest(draws.numpy(), law.cdf).pvalue > 1e-4
    assert len(draws.unique()) == len(draws)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_recorded_draws_come_back_from_their_noise(name):
    build, law = CONTINUOUS[name]
    layout = NoiseLayout()
    with record_noise(layout):
        build().expand([3]).sample()
    assert (layout.normals, layout.uniforms) in ((3, 0), (0, 3))
    assert not layout.opaque
    normal, uniform = torch.randn(layout.normals), torch.rand(layout.uniforms)
    with replay_noise(normal, uniform):
        first = build().expand([3]).sample()
    with replay_noise(normal, uniform):
        torch.testing.assert_close(first, build().expand([3]).sample(), rtol=0, atol=0)
    # the map from noise to draw is the law's quantile function, up or down
    level = torch.special.ndtr(normal) if layout.normals else uniform
    found = torch.as_tensor(law.cdf(first.numpy()))
    if name not in ("half_normal", "half_cauchy"):
        assert torch.allclose(found, level, atol=1e-5) or torch.allclose(found, 1 - level, atol=1e-5)


def test_factories_and_coins_are_recorded():
    def draw():
        return [
            torch.randn(2, 3),
            torch.rand((4,)),
            torch.randn_like(torch.empty(5)),
            torch.rand_like(torch.empty(6)),
            torch.normal(torch.zeros(7), torch.ones(7)),
            torch.normal(1.0, 2.0, (8,)),
            torch.bernoulli(torch.full((9,), 0.5)),
            torch.empty(10).uniform_(2.0, 3.0),
            torch.empty(11).normal_(5.0, 0.1),
        ]

    layout = NoiseLayout()
    with record_noise(layout):
        shapes = [tuple(t.shape) for t in draw()]
    assert [d.shape for d in layout.draws] == shapes
    assert (layout.normals, layout.uniforms) == (6 + 5 + 7 + 8 + 11, 4 + 6 + 9 + 10)
    normal, uniform = torch.randn(layout.normals), torch.rand(layout.uniforms)
    with replay_noise(normal, uniform):
        out = draw()
    torch.testing.assert_close(out[0].flatten(), normal[:6])
    torch.testing.assert_close(out[6], (uniform[10:19] < 0.5).double())
    assert 2.0 <= float(out[7].min()) <= float(out[7].max()) <= 3.0
    assert abs(float(out[8].mean()) - 5.0) < 0.2


def test_a_generator_of_ones_own_is_left_alone():
    layout = NoiseLayout()
    with record_noise(layout):
        torch.rand(3, generator=torch.Generator().manual_seed(0))
    assert not layout.draws


def test_opaque_draws_are_named():
    layout = NoiseLayout()
    with record_noise(layout):
        dist.Gamma(torch.tensor(2.0), 1.0).sample()
        dist.Categorical(torch.ones(3)).sample()
    assert set(layout.opaque) == {"_standard_gamma", "multinomial"}


def test_too_little_noise_is_an_error():
    with (
        replay_noise(torch.randn(2), torch.empty(0)),
        pytest.raises(IndexError, match="drew more normal noise than the 2"),
    ):
        torch.randn(3)


def effects(x):
    mean = pyro.sample("mean", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        u = pyro.sample("u", dist.Uniform(torch.zeros(()), 1.0))
        pyro.sample("x", dist.Normal(mean + u, 1.0), obs=x)


def guide(x):
    pyro.sample("mean", dist.Normal(torch.tensor(0.5), 0.3))
    with pyro.plate("data", len(x)):
        pyro.sample("u", dist.Uniform(torch.zeros(()), 1.0))


@pytest.mark.parametrize("count", [1, 4])
def test_a_program_reads_its_noise_in_order_for_each_particle(count):
    program, x = Program(effects, guide), torch.randn(3)
    layout = NoiseLayout()
    evaluate(program, {"x": x}, noise=layout)
    assert (layout.normals, layout.uniforms) == (1, 3)
    noise = Noise(torch.randn(count, 1), torch.rand(count, 3))
    terms = evaluate(program, {"x": x}, num_particles=count, noise=noise)
    torch.testing.assert_close(terms.values["mean"], 0.5 + 0.3 * noise.normal[:, 0])
    torch.testing.assert_close(terms.values["u"], noise.uniform)
    state = torch.get_rng_state()
    evaluate(program, {"x": x}, num_particles=count, noise=noise)
    assert torch.equal(state, torch.get_rng_state())
