"""What every shipped model keeps to; a new model is one line in `tests/support/model_table.py`."""

from __future__ import annotations

import copy

import pyro
import pytest
import torch
from model_table import MODELS, VARIANTS, build
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO
from pyro.poutine.util import site_is_subsample
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from jensen.inference.guides import build_guide
from jensen.models import SemiSupervisedVAE
from jensen.models.common.parameter_scope import local_parameters

ROWS = 12


@pytest.fixture(params=[*MODELS, *VARIANTS])
def case(request):
    """A model and data drawn from it."""
    model, batch = build(request.param, ROWS)
    model.eval()  # what is random in training alone, dropout, has no density
    batch = {name: batch[name] for name in model.required}
    draw = model.generate(ROWS, seed=1, **batch)
    batch |= {name: draw[name] for name in model.observed if name in draw}
    yield model, batch
    assert not pyro.get_param_store()


@pytest.fixture
def scored(case):
    """A case whose model takes data as evidence."""
    if getattr(case[0], "scored_by_loss", False):
        pytest.skip("its program takes no data")
    return case


def to_double(model, batch):
    return model.double(), {n: v.double() if v.is_floating_point() else v for n, v in batch.items()}


def log_joint(model, batch, latents):
    """Sum of the model's log densities with its latents held; of a model that has a loss alone, that."""
    if getattr(model, "scored_by_loss", False):
        return model.losses(**batch)["loss"]
    held = latents | {name: batch[name] for name in model.observed if name in batch}  # a class is a site summed out
    with local_parameters(), pyro.validation_enabled(False):
        trace = poutine.trace(poutine.condition(model.model, held)).get_trace(**batch)
        return trace.log_prob_sum()


def drawn_latents(model, batch):
    inputs = {name: batch[name] for name in model.required}
    return {name: value for name, value in model.generate(ROWS, **inputs).items() if name not in batch}


def test_data_it_drew_pass_its_own_check(case):
    model, batch = case
    model.check_data(**batch)
    assert all(len(value) == ROWS for value in batch.values())


def test_sites_are_in_the_plate_and_observed(scored):
    model, batch = scored
    with local_parameters():
        trace = poutine.trace(model.model).get_trace(**batch)
    sites = {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}
    for name in batch.keys() & {*model.observed}:
        site = sites[name]
        assert site["is_observed"] or site["infer"].get("enumerate")  # classes given for some rows are summed out
        assert [frame.name for frame in site["cond_indep_stack"]] == ["data"]


def test_copy_is_equal_and_independent(case):
    model, batch = case
    twin = copy.deepcopy(model)
    latents = drawn_latents(model, batch)
    assert torch.isfinite(log_joint(model, batch, latents))
    torch.testing.assert_close(log_joint(model, batch, latents), log_joint(twin, batch, latents))
    before = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_rebuilt_from_its_arguments_and_state(case):
    model, batch = case
    twin = type(model)(**model.init_arguments)
    twin.eval().load_state_dict(model.state_dict())
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


def test_vectorises_over_draws_and_traces(scored):
    model, batch = to_double(*scored)
    several = [drawn_latents(model, batch) for _ in range(3)]
    stacked = {name: torch.stack([latents[name] for latents in several]) for name in several[0]}
    expected = torch.stack([log_joint(model, batch, latents) for latents in several])
    if stacked:  # no latent is left where all are summed out
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


def test_plain_pyro_svi_moves_every_parameter(scored):
    model, batch = scored
    guide = build_guide(None, model, batch)
    if not list(guide.__self__.parameters() if hasattr(guide, "__self__") else guide.parameters()):
        pytest.skip("nothing to fit")
    model.train().initialize(batch, 0)  # as a fit begins: components that are all alike would not part
    if isinstance(model, SemiSupervisedVAE):
        batch["y"][::2] = -1  # its classifier learns from rows without a class
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    enumerated = any(
        site["infer"].get("enumerate")
        for program in (model.model, guide)
        for site in poutine.trace(program).get_trace(**batch).nodes.values()
        if site["type"] == "sample"
    )
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
