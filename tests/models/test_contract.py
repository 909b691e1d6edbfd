"""What every shipped model keeps to; a new model is one line in `MODELS`."""

from __future__ import annotations

import copy

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.poutine.util import site_is_subsample
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from jensen.inference.guides import build_guide
from jensen.models import VAE, BayesianLinearRegression, BayesianLogisticRegression, GaussianMixture, LinearGaussian
from jensen.models.modes import local_parameters

ROWS, COLUMNS = 12, 4

MODELS = {
    "logistic": (lambda: BayesianLogisticRegression(COLUMNS), ("x",)),
    "logistic without intercept": (lambda: BayesianLogisticRegression(COLUMNS, intercept=False), ("x",)),
    "linear regression": (lambda: BayesianLinearRegression(COLUMNS), ("x",)),
    "linear-Gaussian, full": (lambda: LinearGaussian(COLUMNS, 2), ()),
    "linear-Gaussian, diagonal": (lambda: LinearGaussian(COLUMNS, 2, posterior="diagonal"), ()),
    "mixture, full": (lambda: GaussianMixture(3, COLUMNS, "full"), ()),
    "mixture, tied": (lambda: GaussianMixture(3, COLUMNS, "tied"), ()),
    "mixture, diagonal": (lambda: GaussianMixture(3, COLUMNS, "diagonal"), ()),
    "mixture, spherical": (lambda: GaussianMixture(3, COLUMNS, "spherical"), ()),
    "VAE, Bernoulli": (lambda: VAE(COLUMNS, 2, hidden=(8,)), ()),
    "VAE, Gaussian": (lambda: VAE((2, 2), 2, likelihood="gaussian", hidden=(8,)), ()),
    "VAE, fixed Gaussian": (lambda: VAE(COLUMNS, 2, likelihood="gaussian_fixed", hidden=(8, 8)), ()),
    "VAE, categorical": (lambda: VAE((2, 2), 2, likelihood="categorical", num_categories=3, hidden=()), ()),
}


@pytest.fixture(params=MODELS)
def case(request):
    """A model and data drawn from it."""
    torch.manual_seed(0)
    build, inputs = MODELS[request.param]
    model = build()
    batch = {name: torch.randn(ROWS, COLUMNS) for name in inputs}
    draw = model.generate(ROWS, seed=1, **batch)
    batch |= {name: draw[name] for name in model.observed}
    yield model, batch
    assert not pyro.get_param_store()


def to_double(model, batch):
    return model.double(), {n: v.double() if v.is_floating_point() else v for n, v in batch.items()}


def log_joint(model, batch, latents):
    """Sum of the model's log densities with its latents held."""
    with local_parameters(), pyro.validation_enabled(False):
        trace = poutine.trace(poutine.condition(model.model, latents)).get_trace(**batch)
        return trace.log_prob_sum()


def drawn_latents(model, batch):
    inputs = {name: batch[name] for name in model.required}
    return {name: value for name, value in model.generate(ROWS, **inputs).items() if name not in batch}


def test_data_it_drew_pass_its_own_check(case):
    model, batch = case
    model.check_data(**batch)
    assert all(len(value) == ROWS for value in batch.values())


def test_sites_are_in_the_plate_and_observed(case):
    model, batch = case
    with local_parameters():
        trace = poutine.trace(model.model).get_trace(**batch)
    sites = {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}
    for name in model.observed:
        assert sites[name]["is_observed"]
        assert [frame.name for frame in sites[name]["cond_indep_stack"]] == ["data"]


def test_copy_is_equal_and_independent(case):
    model, batch = case
    twin = copy.deepcopy(model)
    latents = drawn_latents(model, batch)
    torch.testing.assert_close(log_joint(model, batch, latents), log_joint(twin, batch, latents))
    before = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_rebuilt_from_its_arguments_and_state(case):
    model, batch = case
    twin = type(model)(**model.init_arguments)
    twin.load_state_dict(model.state_dict())
    latents = drawn_latents(model, batch)
    torch.testing.assert_close(log_joint(model, batch, latents), log_joint(twin, batch, latents))


def test_initialisation_is_repeatable_and_on_scale(case):
    model, batch = case
    twin = copy.deepcopy(model)
    torch.manual_seed(5)
    model.initialize(batch, 7)
    torch.manual_seed(6)
    twin.initialize(batch, 7)
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
        assert torch.isfinite(one).all()


def test_double_precision(case):
    model, batch = to_double(*case)
    draw = model.generate(ROWS, **{name: batch[name] for name in model.required})
    assert {v.dtype for v in draw.values() if v.is_floating_point()} <= {torch.float64}
    assert log_joint(model, batch, drawn_latents(model, batch)).dtype == torch.float64


def test_vectorises_over_draws_and_traces(case):
    model, batch = to_double(*case)
    several = [drawn_latents(model, batch) for _ in range(3)]
    stacked = {name: torch.stack([latents[name] for latents in several]) for name in several[0]}
    expected = torch.stack([log_joint(model, batch, latents) for latents in several])
    torch.testing.assert_close(vmap(lambda z: log_joint(model, batch, z))(stacked), expected)

    def density(parameters, batch):
        def run(**data):
            return log_joint(model, data, several[0])

        holder = torch.nn.Module()
        holder.inner, holder.forward = model, run
        return functional_call(holder, {f"inner.{n}": p for n, p in parameters.items()}, (), batch)

    parameters = {name: value.detach() for name, value in model.named_parameters()}
    graph = make_fx(density)(parameters, batch)
    torch.testing.assert_close(graph(parameters, batch), expected[0])
    moved = {name: value + 0.1 for name, value in parameters.items()}
    torch.testing.assert_close(graph(moved, batch), density(moved, batch))


def test_plain_pyro_svi_moves_every_parameter(case):
    model, batch = case
    guide = build_guide(None, model, batch)
    if not list(guide.__self__.parameters() if hasattr(guide, "__self__") else guide.parameters()):
        pytest.skip("nothing to fit")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    enumerated = isinstance(model, GaussianMixture)
    objective = TraceEnum_ELBO(max_plate_nesting=1) if enumerated else Trace_ELBO()
    svi = SVI(model.model, guide, pyro.optim.Adam({"lr": 0.01}), objective)
    first = svi.step(**batch)
    assert torch.isfinite(torch.tensor(first))
    for name, value in model.named_parameters():
        if name != "scale_tril_unconstrained":  # its upper triangle is not used
            assert not torch.equal(value, before[name]), name
    pyro.clear_param_store()  # a default guide that the caller runs globally is there, the model is not


def test_renders(case):
    model, batch = case
    source = model.render(**{name: batch[name] for name in model.required}).source
    assert all(name in source for name in (*model.observed, "cluster_data"))
