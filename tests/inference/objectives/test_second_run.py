"""STL and DReG score the guide in a second run: it must see what the first one saw, at detached parameters."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from torch import nn

from jensen.inference import IWAE, STL, SVI, DReG, ModelError, Trace_ELBO
from jensen.inference.guides import build_guide
from jensen.inference.pair.program import Program
from jensen.inference.pair.randomness.noise import Noise
from jensen.inference.pair.second_run import Moment
from jensen.models import LatentVariableModel

X = torch.tensor([0.4, -0.7, 1.9], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _float64(float64: torch.dtype) -> None:
    """All of these tests run in float64."""


def model(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


class Outside(nn.Module):
    """An encoder that draws (or counts) outside of its sample sites, in the way that `kind` names."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.first, self.last = nn.Linear(1, 16), nn.Linear(16, 1)
        if kind == "batch norm":
            self.norm = nn.BatchNorm1d(16)
        if kind in ("randn", "gamma"):
            self.shape = nn.Parameter(torch.tensor(0.7))
        if kind == "spectral norm":
            self.first = nn.utils.parametrizations.spectral_norm(nn.Linear(1, 16))

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        h, f = self.first(x[:, None]).tanh(), nn.functional
        if self.kind == "dropout":
            return f.dropout(h, 0.5)
        if self.kind == "feature dropout":
            return f.dropout1d(h.unsqueeze(-1), 0.5).squeeze(-1)
        if self.kind == "rrelu":
            return f.rrelu(h, 0.0, 1.0, training=True)
        if self.kind == "gumbel":
            return f.gumbel_softmax(h, tau=0.5)
        if self.kind == "randn":
            return h + self.shape.exp() * torch.randn(h.shape)
        if self.kind == "in place":
            noise = torch.empty(h.shape)
            noise.normal_()
            return h + noise
        if self.kind == "gamma":
            return h * torch._standard_gamma(self.shape.exp().expand(h.shape))
        if self.kind == "poisson":
            return h * torch.poisson(torch.full(h.shape, 2.0))
        if self.kind == "batch norm":
            return self.norm(h)
        return h

    def forward(self, x: torch.Tensor) -> None:
        mean = self.last(self.hidden(x)).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, 0.4))


KINDS = ["dropout", "feature dropout", "rrelu", "gumbel", "randn", "in place", "gamma", "poisson", "batch norm"]
KINDS += ["spectral norm"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("detached", "plain"), [(STL, Trace_ELBO), (DReG, IWAE)])
@pytest.mark.parametrize("particles", [1, 3])
def test_the_value_is_that_of_the_same_draws(kind: str, detached: Any, plain: Any, particles: int) -> None:
    """As many numbers are drawn, and the bound is `Trace_ELBO`'s (or IWAE's) of the same seed."""
    if particles > 1 and kind in ("batch norm", "spectral norm"):
        pytest.skip("buffers that a run changes cannot be vectorised over particles")
    found = []
    for objective in (detached(particles), plain(particles)):
        program = Program(model, Outside(kind))
        program.structure({"x": X})
        torch.manual_seed(1)
        values = [objective.bound(program, {"x": X}).bound.item() for _ in range(2)]
        found.append((values, torch.get_rng_state(), [buffer.clone() for buffer in program.buffers()]))
    (mine, my_state, my_buffers), (theirs, their_state, their_buffers) = found
    assert mine == pytest.approx(theirs, rel=1e-12)
    assert torch.equal(my_state, their_state)
    for left, right in zip(my_buffers, their_buffers, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["dropout", "randn"])
@pytest.mark.parametrize("objective", [STL(2), DReG(3)])
def test_the_gradient_is_that_of_the_formula_on_the_same_noise(kind: str, objective: Any) -> None:
    """``z = m + s e`` with the live mean `m`; in ``log q(z; sg(m))`` the same dropout and the same noise."""
    guide, count, hidden = Outside(kind), objective.num_particles, 3 * 16
    program = Program(model, guide)
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(count, 3 + (hidden if kind == "randn" else 0), generator=generator)
    uniform = torch.rand(count, hidden if kind == "dropout" else 0, generator=generator)
    bound = objective.bound(program, {"x": X}, noise=Noise(normal, uniform))
    parameters = [value for name, value in guide.named_parameters() if name != "shape"]
    h = guide.first(X[:, None]).tanh().expand(count, 3, 16)
    if kind == "randn":
        h = h + guide.shape.exp() * normal[:, :hidden].reshape(count, 3, 16)
    else:
        h = h * (uniform >= 0.5).reshape(count, 3, 16) / 0.5
    mean = guide.last(h).squeeze(-1)
    z = mean + 0.4 * normal[:, -3:]
    log_p = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 0.5).log_prob(X)
    log_weight = log_p - dist.Normal(mean.detach(), 0.4).log_prob(z)
    if isinstance(objective, DReG):
        value = (log_weight.logsumexp(0) - math.log(count)).sum()
        surrogate = (log_weight.softmax(0).detach() ** 2 * log_weight).sum()
    else:
        value = surrogate = log_weight.sum(-1).mean()
    assert bound.bound.item() == pytest.approx(value.item(), rel=1e-12)
    found = torch.autograd.grad(bound.surrogate, parameters)
    for left, right in zip(found, torch.autograd.grad(surrogate, parameters), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-13)


class Shared(LatentVariableModel):
    """x_n | z_n ~ N(a z_n, 1), z_n ~ N(0, 1); the guide N(a x / 2, s) may share the model's `a`."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.8))

    def model(self, x: torch.Tensor | None = None) -> None:
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.a * z, 1.0), obs=x)


class Statements:
    """A guide that is an object without parameters of its own: `pyro.param` statements."""

    def __call__(self, x: torch.Tensor) -> None:
        slope = pyro.param("slope", torch.tensor(0.8))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * slope * x, 0.7))


class Attributes(PyroModule):
    """A guide whose parameter is a `PyroParam` under a constraint."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = PyroParam(torch.tensor(0.8), constraint=dist.constraints.positive)

    def forward(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * self.slope * x, 0.7))


def closure(own: Any) -> Callable[..., None]:
    """A guide that reaches the model's parameter, which it does not own."""

    def guide(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.5 * own.a * x, 0.7))

    return guide


def partial(own: Any) -> Callable[..., None]:
    def guide(module: Any, x: torch.Tensor) -> None:
        closure(module)(x)

    return functools.partial(guide, own)


GUIDES: dict[str, tuple[Callable[[Any], Any], bool]] = {  # how to build it, and whether it shares the model's `a`
    "statements": (lambda own: Statements(), False),
    "PyroParam": (lambda own: Attributes(), False),
    "closure": (closure, True),
    "partial": (partial, True),
}


@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize("objective", [STL(3), DReG(3)])
@pytest.mark.parametrize("isolated", [True, False])
def test_every_parameter_that_the_guide_reaches_is_detached(name: str, objective: Any, isolated: bool) -> None:
    """The gradient of each owner's parameter is the formula's, also where guide and model share it."""
    build, shared = GUIDES[name]
    with pyro.get_param_store().scope(), pyro.settings.context(module_local_params=isolated):
        own = Shared()
        program = Program(own, build(own), isolated=isolated)
        noise = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
        surrogate = objective.bound(program, {"x": X}, noise=Noise(noise, torch.empty(3, 0))).surrogate
        leaves = [own.a]
        if not shared:
            leaves += [v for k, v in program.named_parameters() if v is not own.a]
            leaves += [] if isolated else [v for k, v in pyro.get_param_store().named_parameters()]
        found = torch.autograd.grad(surrogate, leaves, allow_unused=True)
        found = [g for g in found if g is not None]
    a, slope = (torch.tensor(0.8, requires_grad=True) for _ in range(2))
    z = 0.5 * slope * X + 0.7 * noise

    def log_weight(a: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        log_p = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(a * z, 1.0).log_prob(X)
        return log_p - dist.Normal(0.5 * slope.detach() * X, 0.7).log_prob(z)

    weights = log_weight(a, z).softmax(0).detach()
    if isinstance(objective, STL):
        expected = torch.autograd.grad(log_weight(a, z).sum(-1).mean(), [a, slope])
    else:
        direct = torch.autograd.grad((weights * log_weight(a, z.detach())).sum(), [a])
        paths = torch.autograd.grad((weights**2 * log_weight(a.detach(), z)).sum(), [slope])
        expected = (*direct, *paths)
    if shared:
        torch.testing.assert_close(found[0], expected[0] + expected[1], rtol=1e-10, atol=1e-13)
    else:
        free = 0.8 if name == "PyroParam" else 1.0  # d slope / d log slope
        torch.testing.assert_close(found[0], expected[0], rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(found[1], free * expected[1], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", GUIDES)
def test_the_gradient_has_no_variance_at_the_exact_posterior(name: str) -> None:
    """With ``a = slope = 1`` the posterior is N(x / 2, 1/2): the guide's part of STL's gradient is 0 at every draw."""

    def exact(own: Any) -> Callable[..., None]:
        def guide(x: torch.Tensor) -> None:
            slope = pyro.param("slope", torch.tensor(1.0)) if name == "statements" else getattr(own, "slope", own.a)
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(0.5 * slope * x, math.sqrt(0.5)))

        return guide if name != "partial" else functools.partial(lambda inner, x: inner(x), guide)

    own = Shared()
    own.a.data.fill_(1.0)
    if name == "PyroParam":
        own.slope = PyroParam(torch.tensor(1.0), constraint=dist.constraints.positive)
    program = Program(own, exact(own))
    shared = name in ("closure", "partial")
    for seed in range(3):
        torch.manual_seed(seed)
        terms = STL().evaluate(program, {"x": X})
        surrogate = STL().reduce(terms, 1.0).surrogate
        z = terms.values["z"]
        if shared:  # what is left is the model's own part, d log p(x | z) / d a at the draw
            (found,) = torch.autograd.grad(surrogate, [own.a])
            torch.testing.assert_close(found, ((X - z) * z).sum().detach(), rtol=1e-9, atol=1e-12)
        else:
            (leaf,) = [value for key, value in program.named_parameters() if "slope" in key]
            (found,) = torch.autograd.grad(surrogate, [leaf])
            assert abs(found.item()) < 1e-12


def test_dreg_converges_where_the_guide_is_a_closure() -> None:
    """A gradient that stays attached ends elsewhere: the fit of a program's guide finds the exact posterior's slope."""

    def guide_of(own: Any) -> Callable[..., None]:
        def guide(x: torch.Tensor) -> None:
            slope = pyro.param("slope", torch.tensor(-0.3))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(slope * x, math.sqrt(0.5)))

        return guide

    own = Shared()
    own.a.data.fill_(1.0)
    own.a.requires_grad_(False)
    svi = SVI(DReG(4), guide=guide_of, steps=300, lr=0.05, device="cpu", compile="trace", progress=False)
    fit = svi.fit(own, torch.linspace(-2.0, 2.0, 40))
    (slope,) = [value.item() for key, value in fit.program.named_parameters() if "slope" in key]
    assert slope == pytest.approx(0.5, abs=0.02)


def test_batch_norm_counts_each_step_once() -> None:
    for objective in (STL(), DReG(1), Trace_ELBO()):
        svi = SVI(objective, guide=lambda own: Outside("batch norm"), steps=7, compile="trace", device="cpu")
        fit = svi.fit(model, {"x": X.repeat(3)})
        assert int(fit.guide.norm.num_batches_tracked) == 7


def test_a_moment_comes_again_and_leaves_nothing() -> None:
    guide = Outside("batch norm")
    program = Program(model, guide)
    before = Moment.now(program)
    guide(X)
    after = guide.norm.running_mean.clone()
    with before.again():
        assert torch.equal(guide.norm.running_mean, torch.zeros(16))
        guide(X)
        torch.testing.assert_close(guide.norm.running_mean, after)
        guide(X)
    assert torch.equal(guide.norm.running_mean, after)


@pytest.mark.parametrize("objective", [STL(2), DReG(3)])
def test_modes_agree_where_guide_and_model_draw_outside_of_sites(objective: Any) -> None:
    """Dropout in the encoder, and noise in the decoder after it, which DReG used to draw from another place."""

    def noisy(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + 0.1 * torch.randn(len(x)), 0.5), obs=x)

    options = {"guide": lambda own: Outside("dropout"), "steps": 12, "lr": 0.02, "device": "cpu", "log_every": 3}
    eager, other = (SVI(objective, compile=m, **options).fit(noisy, {"x": X}) for m in (False, "trace"))
    assert other.info["compile"] == "trace"
    for left, right in zip(eager.program.parameters(), other.program.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-7, atol=1e-9)


def test_a_random_density_is_refused() -> None:
    class Dropping(dist.Normal):
        """A "density" with dropout inside of it."""

        def log_prob(self, value: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(super().log_prob(value), 0.1)

    def guide(x: torch.Tensor) -> None:
        loc = pyro.param("loc", torch.tensor(0.1))
        with pyro.plate("data", len(x)):
            pyro.sample("z", Dropping(loc, torch.ones(())))

    with pytest.raises(ModelError, match=r"The log density of `z` draws random numbers.*Dropout inside of a flow"):
        SVI(Trace_ELBO(), guide=lambda own: guide, steps=3, device="cpu").fit(model, {"x": X})


def test_a_guide_that_draws_more_often_the_second_time_is_refused() -> None:
    calls = []

    def guide(x: torch.Tensor) -> None:
        loc = pyro.param("loc", torch.tensor(0.1))
        calls.append(1)
        for _ in range(len(calls)):
            loc = loc + 0.1 * torch.randn(())
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    with pytest.raises(ModelError, match="more often when it was run again to be scored"):
        STL().bound(Program(model, guide), {"x": X})


def test_flows_are_scored_on_their_own_draws() -> None:
    """A flow that keeps its last draw: the value is the plain bound's, and the gradient does not see the score."""
    for name in ("flow", "iaf"):
        torch.manual_seed(0)
        guide = build_guide(name, global_model, {"x": X})
        program = Program(global_model, guide)
        values = []
        for objective in (STL(), Trace_ELBO()):
            torch.manual_seed(3)
            values.append(objective.bound(program, {"x": X}).bound.item())
        assert values[0] == pytest.approx(values[1], abs=1e-6)  # the inverse of a flow is not exact


def global_model(x: torch.Tensor) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(w.sum(), 1.0), obs=x)


class Recurrent(nn.Module):
    """Dropout inside of an LSTM, which no one can supply with noise."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.last = nn.LSTM(1, 3, num_layers=2, dropout=0.5, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> None:
        hidden, _ = self.lstm(x[:, None, None])
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.last(hidden[:, 0]).squeeze(-1), 0.4))


@pytest.mark.parametrize("objective", [STL(), DReG(1)])
def test_a_guide_that_cannot_draw_the_same_again_is_refused(objective: Any) -> None:
    with pytest.raises(ModelError, match=r"The guide draws by `\w+` outside of its sample sites.*Use `Trace_ELBO`"):
        objective.bound(Program(model, Recurrent()), {"x": X})
    Trace_ELBO().bound(Program(model, Recurrent()), {"x": X})


def test_a_guide_with_a_generator_of_its_own_is_refused() -> None:
    generator = torch.Generator().manual_seed(0)

    def guide(x: torch.Tensor) -> None:
        loc = pyro.param("loc", torch.tensor(0.1)) + torch.randn(3, generator=generator)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    with pytest.raises(ModelError, match="The guide draws by `randn` outside of its sample sites"):
        STL().bound(Program(model, guide), {"x": X})
