"""Default guides: densities, structure, copies, vectorisation, and what they refuse."""

from __future__ import annotations

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI as PyroSVI
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch.distributions import LogNormal, Normal, biject_to, constraints
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from jensen.inference import SVI
from jensen.inference.errors import ConfigurationError, JensenError, ModelError
from jensen.inference.guides import GUIDES, AutoFlow, NormalGuide, build_guide
from jensen.inference.guides.flow import FlowDistribution
from jensen.inference.pair.randomness.noise import vmap_safe_noise
from jensen.models import VAE, BayesianLinearRegression, GaussianMixture, LatentVariableModel
from jensen.models.common.parameter_scope import local_parameters


class Mixed(LatentVariableModel):
    """Latents of every kind: real, positive, simplex, local, and a discrete one that is summed out."""

    def model(self, x=None):
        tau = pyro.sample("tau", dist.Gamma(torch.tensor(2.0), 2.0))
        p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
        mu = pyro.sample("a.mu", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", 1 if x is None else len(x)):
            c = pyro.sample("c", dist.Categorical(p), infer={"enumerate": "parallel"})
            s = pyro.sample("s", dist.Normal(torch.zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(mu[c] + s, tau), obs=x)


class Global(LatentVariableModel):
    def model(self, x=None):
        loc = pyro.sample("loc", dist.Normal(torch.zeros(2), 3.0).to_event(1))
        scale = pyro.sample("scale", dist.LogNormal(torch.zeros(()), 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(loc, scale).to_event(1), obs=x)


SPECS = {**{name: name for name in GUIDES}, "class": AutoNormal, "function": lambda m: AutoDiagonalNormal(m)}


@pytest.fixture
def mixed():
    model = Mixed()
    return model, {"x": model.generate(6, seed=0)["x"]}


@pytest.fixture
def plain():
    model = Global()
    return model, {"x": model.generate(6, seed=0)["x"]}


@pytest.fixture
def regression():
    model, x = BayesianLinearRegression(3), torch.randn(20, 3).double()
    return model, {"x": x, "y": model.generate(20, x=x, seed=0)["y"]}


def trace_of(guide, batch):
    with local_parameters():
        trace = poutine.trace(guide).get_trace(**batch)
    trace.compute_log_prob()
    return {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and n != "data"}


def log_q(guide, batch):
    return sum(site["log_prob"].sum() for site in trace_of(guide, batch).values())


# The mean-field guide.


def test_normal_draws_each_latent_under_its_own_name(mixed):
    model, batch = mixed
    guide = build_guide("normal", model, batch)
    sites = trace_of(guide, batch)
    assert list(sites) == ["tau", "p", "a.mu", "s"]
    assert isinstance(sites["a.mu"]["fn"].base_dist, dist.Normal)
    assert isinstance(sites["s"]["fn"], Normal)
    frame = sites["s"]["cond_indep_stack"][0]
    assert (frame.name, frame.size, frame.dim) == ("data", 6, -1)
    assert guide.local_latents == ("s",)
    assert {n: tuple(p.shape) for n, p in guide.named_parameters()} == {
        "loc_tau": (),
        "log_scale_tau": (),
        "loc_p": (2,),
        "log_scale_p": (2,),
        "loc_a__mu": (3,),
        "log_scale_a__mu": (3,),
        "loc_s": (6,),
        "log_scale_s": (6,),
    }


def test_normal_densities_are_closed_forms(mixed):
    model, batch = mixed
    guide = build_guide("normal", model, batch)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    sites = trace_of(guide, batch)
    tau, p, mu, s = (sites[name] for name in ("tau", "p", "a.mu", "s"))
    torch.testing.assert_close(
        tau["log_prob"], LogNormal(guide.loc_tau, guide.log_scale_tau.exp()).log_prob(tau["value"])
    )
    torch.testing.assert_close(
        mu["log_prob"], Normal(guide.loc_a__mu, guide.log_scale_a__mu.exp()).log_prob(mu["value"]).sum()
    )
    torch.testing.assert_close(s["log_prob"], Normal(guide.loc_s, guide.log_scale_s.exp()).log_prob(s["value"]))
    stick = biject_to(constraints.simplex)
    raw = stick.inv(p["value"])
    expected = Normal(guide.loc_p, guide.log_scale_p.exp()).log_prob(raw).sum()
    torch.testing.assert_close(
        p["log_prob"], expected - stick.log_abs_det_jacobian(raw, p["value"]), rtol=1e-4, atol=1e-4
    )


def test_normal_starts_narrow_inside_the_prior(mixed):
    model, batch = mixed
    guide = build_guide("normal", model, batch)
    for name, parameter in guide.named_parameters():
        if name.startswith("log_scale"):
            torch.testing.assert_close(parameter.exp(), torch.full_like(parameter, 0.1))
    median = guide.median()
    assert (median["a.mu"].abs() < 2).all()
    assert 0.2 < median["tau"] < 3
    torch.testing.assert_close(median["p"].sum(), torch.tensor(1.0))


def test_local_latents_want_the_rows_they_were_built_for(mixed):
    model, batch = mixed
    guide = build_guide("normal", model, batch)
    with pytest.raises(ModelError, match=r"`s` is a local latent .* 6 data .* got 4.*batch_size=None"):
        guide(x=batch["x"][:4])


def test_global_latents_take_any_batch(plain):
    model, batch = plain
    guide = build_guide("normal", model, batch)
    assert guide.local_latents == ()
    assert set(trace_of(guide, {"x": batch["x"][:2]})) == {"loc", "scale"}


def test_nested_plates_are_kept():
    class Nested(LatentVariableModel):
        def model(self, x=None):
            with pyro.plate("groups", 3, dim=-2), pyro.plate("data", 4 if x is None else len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                return pyro.sample("x", dist.Normal(z.sum(-1).sum(-2), 1.0), obs=x)

    guide = build_guide("normal", Nested(), {"x": torch.zeros(4)})
    site = trace_of(guide, {"x": torch.zeros(4)})["z"]
    assert site["value"].shape == (3, 4, 2)
    assert site["log_prob"].shape == (3, 4)
    assert sorted((f.name, f.size, f.dim) for f in site["cond_indep_stack"]) == [("data", 4, -1), ("groups", 3, -2)]


# Every guide.


@pytest.fixture(params=SPECS)
def built(request, plain):
    model, batch = plain
    return build_guide(SPECS[request.param], model, batch), model, batch


def test_every_guide_covers_the_latents_and_holds_its_parameters(built):
    guide, _, batch = built
    sites = trace_of(guide, batch)
    assert {"loc", "scale"} <= set(sites)
    assert sites["loc"]["value"].shape == (2,)
    assert sites["scale"]["value"] > 0
    assert isinstance(guide, nn.Module)
    assert all(parameter.requires_grad for parameter in guide.parameters())
    log_q(guide, batch).backward()
    assert guide.local_latents == ()


def test_every_guide_can_be_copied(built):
    guide, _, batch = built
    twin = copy.deepcopy(guide)
    torch.manual_seed(1)
    first = log_q(guide, batch)
    torch.manual_seed(1)
    torch.testing.assert_close(log_q(twin, batch), first)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.5)
    torch.manual_seed(1)
    torch.testing.assert_close(log_q(guide, batch), first)
    assert twin.local_latents == guide.local_latents
    copy.deepcopy(twin)


def test_every_guide_is_a_function_of_its_parameters(built):
    guide, _, batch = built

    def draw(parameters):
        with vmap_safe_noise(), pyro.validation_enabled(False), local_parameters():
            trace = poutine.trace(lambda **b: functional_call(guide, parameters, (), b)).get_trace(**batch)
            trace.compute_log_prob()
        total = sum(s["log_prob"].sum() for s in trace.nodes.values() if s["type"] == "sample")
        return total, trace.nodes["loc"]["value"]

    parameters = {name: value.detach() for name, value in guide.named_parameters()}
    density, loc = torch.vmap(lambda _: draw(parameters), randomness="different")(torch.zeros(5))
    assert density.shape == (5,)
    assert loc.shape == (5, 2)
    assert loc.std(0).min() > 0
    graph = make_fx(draw)(parameters)
    torch.manual_seed(3)
    expected = draw(parameters)[0]
    torch.manual_seed(3)
    torch.testing.assert_close(graph(parameters)[0], expected)


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_is_double_for_double_data(name, regression):
    model, batch = regression
    guide = build_guide(name, model, batch)
    assert {parameter.dtype for parameter in guide.parameters()} == {torch.float64}
    assert trace_of(guide, batch)["w"]["value"].dtype == torch.float64


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_leaves_out_the_discrete_latents(name, mixed):
    model, batch = mixed
    guide = build_guide(name, model, batch)
    assert {"tau", "p", "a.mu", "s"} <= set(trace_of(guide, batch))
    assert "c" not in trace_of(guide, batch)
    assert guide.local_latents == ("s",)


@pytest.mark.parametrize("name", GUIDES)
def test_every_guide_works_in_plain_pyro_svi(name, plain):
    model, batch = plain
    guide = build_guide(name, model, batch)
    before = [p.detach().clone() for p in guide.parameters()]
    svi = PyroSVI(model.model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(3):
        svi.step(**batch)
    assert any(not torch.equal(a, b) for a, b in zip(before, guide.parameters(), strict=True))
    assert name != "normal" or not pyro.get_param_store()
    pyro.clear_param_store()  # run globally, Pyro's own guides keep their parameters there


def test_full_covariance_contains_the_exact_posterior(regression):
    model, batch = regression
    guide = build_guide("multivariate_normal", model, batch)
    posterior = model.exact_posterior(batch)["w"]
    factor = posterior.scale_tril
    with torch.no_grad():
        guide.loc.copy_(posterior.loc)
    guide.scale = factor.diagonal()
    guide.scale_tril = factor / factor.diagonal()[:, None]
    for _ in range(3):
        drawn = trace_of(guide, batch)
        w = drawn["w"]["value"]
        joint = poutine.trace(poutine.condition(model.model, {"w": w})).get_trace(**batch).log_prob_sum()
        weight = joint - sum(site["log_prob"] for site in drawn.values())
        torch.testing.assert_close(weight, model.log_evidence(batch))


# The flow.


def make_flow(dimension):
    class Model(LatentVariableModel):
        def model(self, x=None):
            z = pyro.sample("z", dist.Normal(torch.zeros(dimension), 1.0).to_event(1))
            with pyro.plate("data", 1 if x is None else len(x)):
                return pyro.sample("x", dist.Normal(z.sum(), 1.0), obs=x)

    batch = {"x": torch.zeros(2, dtype=torch.float64)}
    guide = build_guide("flow", Model().double(), batch)
    with torch.no_grad():
        guide.log_scale.add_(1.5)
    return guide.double(), batch


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_flow_density_of_a_draw_is_that_of_any_value(dimension):
    guide, _ = make_flow(dimension)
    posterior = guide.get_posterior()
    draw = posterior.rsample((7,))
    torch.testing.assert_close(
        guide.get_posterior().log_prob(draw.clone()), posterior.log_prob(draw), rtol=1e-6, atol=1e-6
    )
    assert isinstance(posterior, FlowDistribution)
    assert posterior.event_shape == (dimension,)


def test_flow_density_integrates_to_one():
    guide, _ = make_flow(2)
    posterior = guide.get_posterior()
    grid = torch.linspace(-6, 6, 201, dtype=torch.float64)
    points = guide.loc.detach() + torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        total = posterior.log_prob(points).exp().sum() * (grid[1] - grid[0]) ** 2
    assert total.item() == pytest.approx(1.0, abs=1e-3)


def test_flow_is_reparameterised():
    guide, batch = make_flow(3)
    trace_of(guide, batch)["z"]["value"].sum().backward()
    assert guide.loc.grad is not None
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in guide.flow.parameters())
    assert isinstance(guide, AutoFlow)


# What may be given as a guide.


def test_none_is_the_models_own_guide_or_normal(plain):
    model = VAE(4, 2, hidden=(3,))
    own = build_guide(None, model, {"x": torch.zeros(5, 4)})
    assert own.__self__ is model
    assert isinstance(build_guide(None, *plain), NormalGuide)


@pytest.mark.parametrize("name", GUIDES)
def test_a_model_without_latents_gets_a_guide_that_draws_nothing(name):
    class Fixed(LatentVariableModel):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def model(self, x=None):
            with pyro.plate("data", 1 if x is None else len(x)):
                return pyro.sample("x", dist.Normal(self.loc, 1.0), obs=x)

    batch = {"x": torch.zeros(3)}
    guide = build_guide(name, Fixed(), batch)
    assert trace_of(guide, batch) == {}
    assert list(guide.parameters()) == []
    assert trace_of(build_guide(name, GaussianMixture(2, 1), {"x": torch.zeros(3, 1)}), {"x": torch.zeros(3, 1)}) == {}


def test_a_module_or_a_function_of_the_model(plain):
    model, batch = plain

    class Own(PyroModule):
        def __init__(self):
            super().__init__()
            self.width = PyroParam(torch.ones(()), constraints.positive)

        def forward(self, x=None):
            pyro.sample("loc", dist.Normal(torch.zeros(2), self.width).to_event(1))
            pyro.sample("scale", dist.LogNormal(torch.zeros(()), 1.0))

    own = Own()  # built in Pyro's global mode, runs locally
    assert build_guide(own, model, batch) is own
    assert set(trace_of(own, batch)) == {"loc", "scale"}
    assert set(trace_of(build_guide(lambda m: Own(), model, batch), batch)) == {"loc", "scale"}
    delta = build_guide(AutoDelta, model, batch)
    assert set(trace_of(delta, batch)) == {"loc", "scale"}


def test_draws_of_a_point_are_numbers_and_no_parameters():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    fit = SVI(steps=2, guide=AutoDelta, progress=False).fit(model, torch.zeros(3))
    assert not fit.posterior(2)["loc"].requires_grad


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("multivariate", r"`guide` must be one of .* got 'multivariate'. Did you mean `multivariate_normal`\?"),
        ("nromal", r"Did you mean `normal`\?"),
        (3, r"`guide` must be one of .* a Pyro autoguide class, .* got 3"),
        (int, r"`guide` must be one of"),
        (lambda model: None, "`guide` must be a function of the model that returns a guide, got None"),
    ],
)
def test_what_is_not_a_guide_is_refused(spec, message, plain):
    with pytest.raises(ConfigurationError, match=message):
        build_guide(spec, *plain)


def test_a_flow_for_one_number_says_what_to_do():
    class One(LatentVariableModel):
        def model(self, x=None):
            m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
            with pyro.plate("data", 1 if x is None else len(x)):
                return pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    with pytest.raises(ConfigurationError, match='`guide` "iaf" needs two or more latent numbers'):
        build_guide("iaf", One(), {"x": torch.zeros(3)})
    build_guide("flow", One(), {"x": torch.zeros(3)})


def test_a_discrete_latent_without_finite_support_is_refused():
    class Counts(LatentVariableModel):
        def model(self, x=None):
            with pyro.plate("data", 1 if x is None else len(x)):
                k = pyro.sample("k", dist.Poisson(torch.tensor(2.0)))
                return pyro.sample("x", dist.Normal(k, 1.0), obs=x)

    with pytest.raises(JensenError, match="`k` is a discrete latent without finite support"):
        build_guide("normal", Counts(), {"x": torch.zeros(3)})


def test_a_sequential_plate_is_refused():
    class Loop(LatentVariableModel):
        def model(self, x=None):
            for i in pyro.plate("steps", 2):
                pyro.sample(f"z{i}", dist.Normal(torch.zeros(()), 1.0))
            with pyro.plate("data", 1 if x is None else len(x)):
                return pyro.sample("x", dist.Normal(torch.zeros(()), 1.0), obs=x)

    with pytest.raises(ModelError, match="`z0` is inside the sequential plate `steps`"):
        build_guide("normal", Loop(), {"x": torch.zeros(3)})


def test_building_leaves_no_data_inside(plain):
    model, batch = plain
    guide = build_guide("multivariate_normal", model, batch)
    assert "_INPUT" not in guide.prototype_trace.nodes
