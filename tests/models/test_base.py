"""A user's own model: parameters, samples, copies, drawing and rendering."""

from __future__ import annotations

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch.distributions import constraints

from jensen.models import LatentVariableModel
from jensen.models.common.parameter_scope import local_parameters, make_local


class Regression(LatentVariableModel):
    """Uses every kind of attribute that a Pyro module knows."""

    def __init__(self, num_features, scale=2.0, *, bias=True):
        super().__init__()
        self.num_features = num_features
        self.scale = PyroParam(torch.tensor(scale), constraints.positive)
        self.offset = nn.Parameter(torch.zeros(()))
        self.weight = PyroSample(dist.Normal(torch.zeros(num_features), 1.0).to_event(1))
        self.link = nn.Linear(1, 1)

    def model(self, x, y=None):
        loc = self.link((x @ self.weight).unsqueeze(-1)).squeeze(-1) + self.offset
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(loc, self.scale), obs=y)


class Mean(LatentVariableModel):
    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    def guide(self, x=None):
        return pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))


def test_the_class_knows_its_arguments():
    model = Regression(3, bias=False)
    assert model.arguments == ("x", "y")
    assert model.observed == ("y",)
    assert model.required == ("x",)
    assert not model.has_guide
    assert Mean().has_guide
    assert model.init_arguments == {"num_features": 3, "scale": 2.0, "bias": False}
    assert type(model)(**model.init_arguments).num_features == 3


def test_arguments_of_the_outermost_constructor_are_recorded():
    class Child(Regression):
        def __init__(self, width, **options):
            super().__init__(width + 1, **options)

    assert Child(2, scale=3.0).init_arguments == {"width": 2, "scale": 3.0}


def test_a_model_must_define_model():
    class Empty(LatentVariableModel):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Empty()


def test_generate_draws_what_is_not_given():
    x = torch.randn(7, 3)
    draw = Regression(3).generate(7, x=x, seed=1)
    assert {name: tuple(value.shape) for name, value in draw.items()} == {"weight": (3,), "y": (7,)}
    assert not draw["y"].requires_grad
    assert Mean().generate(5)["x"].shape == (5,)
    held = Mean().generate(4, x=torch.ones(4))
    torch.testing.assert_close(held["x"], torch.ones(4))


def test_generate_is_repeatable_and_leaves_the_random_state():
    before = torch.get_rng_state()
    first, second = Mean().generate(5, seed=3), Mean().generate(5, seed=3)
    torch.testing.assert_close(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_generate_draws_independent_data_in_the_plate():
    x = Mean().generate(2_000, seed=0)
    residual = x["x"] - x["m"]
    assert abs(residual.mean()) < 4 / 2_000**0.5
    assert abs(residual.std() - 1) < 4 / (2 * 2_000) ** 0.5


@pytest.mark.parametrize(
    ("num", "inputs", "message"),
    [
        (0, {}, "`num` must be a positive whole number of data to draw, got 0"),
        (2.5, {}, r"`num` must be a positive whole number of data to draw, got 2\.5"),
        (5, {}, "`x` must be given to draw from this model"),
        (5, {"z": torch.zeros(5)}, "`z` is not an argument of the model"),
        (5, {"x": torch.zeros(4, 3)}, "`x` must have `num` = 5 rows, got 4"),
    ],
)
def test_generate_refuses(num, inputs, message):
    with pytest.raises(ValueError, match=message):
        Regression(3).generate(num, **inputs)


def test_direct_calls_leave_the_global_store_empty():
    model, x = Regression(3), torch.randn(4, 3)
    model(x)
    model.model(x)
    model.generate(4, x=x)
    model.render(x=x)
    assert not pyro.get_param_store()


def test_samples_are_drawn_once_in_a_run():
    trace = poutine.trace(Regression(2).model).get_trace(torch.randn(4, 2))
    assert [name for name, site in trace.nodes.items() if site["type"] == "sample"] == ["weight", "data", "y"]


@pytest.mark.parametrize("local", [False, True])
def test_copies_are_independent(local):
    x = torch.randn(4, 3)
    model = Regression(3)
    with pyro.settings.context(module_local_params=local):
        model(x)
        twin = copy.deepcopy(model)
        twin.scale = torch.tensor(9.0)
        with torch.no_grad():
            twin.link.weight.add_(1.0)
        twin(x)
    assert model.scale.item() == pytest.approx(2.0)
    assert twin.scale.item() == pytest.approx(9.0)
    assert not torch.equal(model.link.weight, twin.link.weight)
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in twin.named_parameters()]


def test_plain_pyro_svi_fits_a_model_and_shares_nothing():
    x = torch.randn(20, 3)
    models = [Regression(3), Regression(3, scale=5.0)]
    for model in models:

        def guide(x, y=None):
            loc = pyro.param("loc", torch.zeros(3))
            pyro.sample("weight", dist.Normal(loc, 0.1).to_event(1))

        svi = SVI(model.model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        for _ in range(3):
            svi.step(x=x, y=torch.zeros(20))
        assert all(not torch.equal(value, before[name]) for name, value in model.named_parameters())
    assert list(pyro.get_param_store()) == ["loc"]  # the guide's own statement, nothing of the models
    pyro.clear_param_store()
    assert models[0].scale.item() < 2.5 < models[1].scale.item()


def test_fits_with_local_parameters():
    model, x = Regression(3), torch.randn(20, 3)
    with local_parameters():

        def guide(x, y=None):
            pyro.sample("weight", dist.Normal(torch.zeros(3), 0.1).to_event(1))

        loss = Trace_ELBO().differentiable_loss(model.model, guide, x=x, y=torch.zeros(20))
        loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not pyro.get_param_store()


def test_double_precision_is_kept():
    draw = Mean().double().generate(3)
    assert draw["x"].dtype == torch.float32  # the model has no tensor that says otherwise
    x = torch.randn(4, 3, dtype=torch.float64)

    class Double(LatentVariableModel):
        def model(self, x, y=None):
            w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            with pyro.plate("data", len(x)):
                return pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)

    assert Double().generate(4, x=x)["y"].dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_render_shows_the_sites():
    source = Regression(3).render(x=torch.zeros(2, 3)).source
    assert "cluster_data" in source
    assert "weight -> y" in source
    with pytest.raises(ValueError, match="`x` must be given to render"):
        Regression(3).render()


def test_make_local_lets_globally_built_modules_run_locally():
    class Inner(PyroModule):
        def __init__(self):
            super().__init__()
            self.loc = PyroParam(torch.zeros(2))

        def forward(self):
            return self.loc.sum()

    inner = Inner()
    with local_parameters():
        with pytest.raises(AttributeError):
            inner()
        assert make_local(Inner())() == 0
    assert not pyro.get_param_store()
