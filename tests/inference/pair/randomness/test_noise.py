"""Draws as an input: recorded, replayed, and safe under vmap."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import nn

from jensen.inference.pair.program import Program
from jensen.inference.pair.randomness.noise import Noise, NoiseLayout, record_noise, replay_noise, vmap_safe_noise
from jensen.inference.pair.terms import evaluate

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


def test_a_generator_of_ones_own_is_left_alone_and_named():
    layout = NoiseLayout()
    with record_noise(layout):
        torch.rand(3, generator=torch.Generator().manual_seed(0))
    assert not layout.draws and not layout.opaque
    assert layout.private == ["rand"]


F = nn.functional
MANY = 4_000
H = torch.linspace(-1.0, 2.0, MANY)
RECORDED = {  # operation, what it draws per element of H, mean of its values
    "dropout": (lambda: F.dropout(H, 0.3), 1.0, H.mean()),
    "nn.Dropout": (lambda: nn.Dropout(0.3)(H), 1.0, H.mean()),
    "dropout in place": (lambda: F.dropout(H.clone(), 0.3, inplace=True), 1.0, H.mean()),
    "dropout1d": (lambda: F.dropout1d(H.view(-1, 4, 5), 0.3), 0.2, H.mean()),
    "dropout2d": (lambda: nn.Dropout2d(0.3)(H.view(-1, 2, 2, 5)), 0.1, H.mean()),
    "dropout3d": (lambda: F.dropout3d(H.view(-1, 2, 2, 5, 5), 0.3), 0.02, H.mean()),
    "alpha_dropout": (lambda: F.alpha_dropout(torch.zeros(MANY), 0.3, training=True), 1.0, 0.0),
    "feature_alpha_dropout": (lambda: F.feature_alpha_dropout(torch.zeros(MANY, 1, 2), 0.3, training=True), 1.0, 0.0),
    "rrelu": (lambda: F.rrelu(-torch.ones(MANY), 0.1, 0.5, training=True), 1.0, -0.3),
    "gumbel_softmax": (lambda: F.gumbel_softmax(torch.zeros(MANY // 2, 2), hard=True), 1.0, 0.5),
    "bernoulli_": (lambda: torch.empty(MANY).bernoulli_(0.3), 1.0, 0.3),
    "bernoulli_ of a tensor": (lambda: torch.empty(MANY).bernoulli_(torch.full((MANY,), 0.3)), 1.0, 0.3),
    "geometric_": (lambda: torch.empty(MANY).geometric_(0.4), 1.0, 2.5),
    "log_normal_": (lambda: torch.empty(MANY).log_normal_(0.1, 0.2).log(), 1.0, 0.1),
    "coins that are whole numbers": (lambda: torch.empty(MANY, dtype=torch.int64).bernoulli_(0.3).double(), 1.0, 0.3),
    "nn.init": (lambda: nn.init.normal_(torch.empty(MANY), 0.5, 0.1), 1.0, 0.5),
}


@pytest.mark.parametrize("name", RECORDED)
def test_draws_in_layers_are_recorded(name):
    """As many numbers as torch draws, the right mean, and the same values from the same noise."""
    draw, per_element, mean = RECORDED[name]
    layout = NoiseLayout()
    with record_noise(layout):
        draw()
    assert not layout.opaque
    assert layout.normals + layout.uniforms == int(per_element * MANY)
    normal, uniform = torch.randn(layout.normals), torch.rand(layout.uniforms)
    with replay_noise(normal, uniform):
        first = draw()
    with replay_noise(normal, uniform):
        assert torch.equal(first, draw())
    error = first.std() / math.sqrt(layout.normals + layout.uniforms)
    assert abs(float(first.mean() - mean)) < 5 * float(error)


def test_an_alpha_dropout_keeps_mean_and_variance():
    x = torch.randn(100_000)
    with vmap_safe_noise():
        out = F.alpha_dropout(x, 0.4, training=True)
    assert abs(float(out.mean())) < 5 / math.sqrt(len(x))
    assert float(out.var()) == pytest.approx(1.0, abs=0.05)
    with vmap_safe_noise():
        torch.manual_seed(0)
        mine = F.alpha_dropout(x, 0.4, training=True)
    theirs = F.alpha_dropout(x, 0.4, training=True)
    alpha = 1.7580993408473766  # of a self-normalising unit, times its scale
    dropped = alpha * (0.4 - 1.0) / math.sqrt((alpha**2 * 0.4 + 1.0) * 0.6)
    gone = [(value - dropped).abs() < 1e-9 for value in (mine, theirs)]
    assert all(abs(float(each.double().mean()) - 0.4) < 0.01 for each in gone)
    torch.testing.assert_close(mine[~gone[0] & ~gone[1]], theirs[~gone[0] & ~gone[1]])


LSTM = nn.LSTM(2, 3, num_layers=2, dropout=0.5)
ATTENTION = nn.MultiheadAttention(4, 2, dropout=0.5)
OPAQUE = {
    "LSTM": lambda: LSTM(torch.zeros(4, 1, 2, dtype=torch.float32)),
    "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(*[torch.ones(1, 2, 4)] * 3, dropout_p=0.5),
    "MultiheadAttention": lambda: ATTENTION(*[torch.ones(3, 1, 4, dtype=torch.float32)] * 3),
    "randperm": lambda: torch.randperm(5),
    "random_": lambda: torch.empty(5).random_(3),
    "binomial": lambda: torch.binomial(torch.full((3,), 5.0), torch.full((3,), 0.5)),
    "_sample_dirichlet": lambda: torch._sample_dirichlet(torch.ones(3)),
    "rand into `out`": lambda: torch.rand(3, out=torch.empty(3)),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_no_draw_goes_unseen(name):
    """Whatever advances the generator is on the layout, as noise or by its name."""
    layout, before = NoiseLayout(), None
    torch.manual_seed(0)
    with record_noise(layout):
        before = OPAQUE[name]()
    assert before is not None
    assert layout.opaque or (name == "MultiheadAttention" and layout.uniforms)


@pytest.mark.parametrize("particles", [1, 3])
def test_a_statement_in_place_is_not_dropped(particles):
    """``e.normal_()`` on a line of its own: E log p and log q then see the draw, as the gap below says."""

    def noisy(x):
        noise = torch.zeros(len(x))
        noise.normal_(0.0, 100.0)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(noise, 1.0), obs=x)

    x, noise = torch.zeros(5), torch.randn(particles, 5)
    layout = NoiseLayout()
    evaluate(Program(noisy), {"x": x}, noise=layout)
    assert layout.normals == 5
    terms = evaluate(Program(noisy), {"x": x}, num_particles=particles, noise=Noise(noise, torch.empty(particles, 0)))
    expected = dist.Normal(100.0 * noise, 1.0).log_prob(x)
    torch.testing.assert_close(terms.log_likelihood, expected.reshape(particles, 5))


def test_a_buffer_and_a_part_of_a_tensor_are_written_too():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("noise", torch.zeros(3))

        def forward(self, x):
            self.noise.uniform_()
            both = torch.zeros(6)
            both[:3].copy_(self.noise)
            both[3:].exponential_()
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(both, 1.0), obs=x)

    module, uniform = Noisy(), torch.rand(2, 6)
    program = Program(module)
    program.structure({"x": torch.zeros(6)})
    with pytest.warns(UserWarning, match="The program cannot be vectorised over particles"):
        terms = evaluate(program, {"x": torch.zeros(6)}, num_particles=2, noise=Noise(torch.empty(2, 0), uniform))
    means = torch.cat([uniform[:, :3], -torch.log1p(-uniform[:, 3:])], 1)
    torch.testing.assert_close(terms.log_likelihood, dist.Normal(means, 1.0).log_prob(torch.zeros(6)))
    torch.testing.assert_close(module.noise, uniform[1, :3])


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
