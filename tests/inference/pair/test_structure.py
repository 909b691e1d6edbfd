"""The static structure of a pair, and every fault it shows before a fit."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from torch import nn

from jensen.inference import ModelError
from jensen.inference.guides import build_guide
from jensen.inference.pair.program import Program
from jensen.inference.pair.second_run import detached

X = torch.tensor([0.4, -0.7, 1.9])
SUM = {"enumerate": "parallel"}


def model(x):
    scale = pyro.sample("scale", dist.Gamma(2.0, 1.0))
    with pyro.plate("groups", 2, dim=-2):
        effect = pyro.sample("effect", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        c = pyro.sample("c", dist.Categorical(torch.ones(2)))
        z = pyro.sample("z", dist.Normal(0.0, scale))
        pyro.sample("x", dist.Normal(z + c + effect.sum(), 1.0), obs=x)


def guide(x):
    hint = pyro.sample("hint", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
    with pyro.plate("groups", 2, dim=-2):
        pyro.sample("effect", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x, 1.0))
    pyro.sample("scale", dist.Delta(hint.exp(), -hint))


def describe(model, guide=None, **batch):
    return Program(model, guide).structure(batch or {"x": X})


def test_sites_are_described():
    structure = describe(model, guide)
    sites = structure.sites
    assert list(sites) == ["scale", "effect", "c", "z", "x", "hint"]
    assert structure.guide_order == ("hint", "effect", "z", "scale")
    assert (structure.max_plate_nesting, structure.batch_size) == (2, 3)
    assert {n for n, s in sites.items() if s.local} == {"c", "z", "x"}
    assert {n: s.kind for n, s in sites.items() if s.kind != "latent"} == {"x": "observed", "hint": "auxiliary"}
    assert sites["c"].enumerated == "model" and sites["c"].enumerable
    assert sites["z"].reparameterized and sites["z"].data_dim == -1
    assert sites["effect"].plates == (("groups", 2),) and sites["effect"].event_shape == (3,)
    assert (sites["scale"].distribution, sites["scale"].guide_distribution) == ("Gamma", "Delta")
    assert [s.name for s in structure.global_latents] == ["scale", "effect", "hint"]
    assert [s.name for s in structure.select("latent", local=True)] == ["c", "z"]
    assert not any(s.scaled for s in sites.values())
    assert structure.is_coupled  # the guide draws `scale` after `z`


def test_it_is_kept_by_shapes_and_leaves_the_generator_alone():
    program = Program(model, guide)
    state = torch.get_rng_state()
    first = program.structure({"x": X})
    assert program.structure({"x": X + 1}) is first
    assert program.structure({"x": X[:2]}).batch_size == 2
    assert torch.equal(state, torch.get_rng_state())


def test_autoguides_have_one_auxiliary_site():
    def pair(x):
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(w.sum(), 1.0), obs=x)

    structure = describe(pair, build_guide(AutoMultivariateNormal, pair, {"x": X}))
    assert structure.sites["_AutoMultivariateNormal_latent"].kind == "auxiliary"
    assert structure.sites["w"].guide_distribution == "Delta"
    assert not structure.is_coupled


def z_model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("latent", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def z_guide(name="latent", **kwargs):
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample(name, dist.Normal(x, 1.0), **kwargs)

    return guide


def sequential(x):
    for i in pyro.plate("data", len(x)):
        pyro.sample(f"x{i}", dist.Normal(0.0, 1.0), obs=x[i])


def outside(x):
    pyro.sample("latent", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))


def bare(x):
    pyro.sample("latent", dist.Normal(torch.zeros(3), 1.0))
    pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1), obs=x)


def square(x):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(torch.zeros(3, 3), 1.0), obs=x)


def other_size(x):
    with pyro.plate("data", 2):
        pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0))


def observer(x):
    z_guide()(x)
    pyro.sample("seen", dist.Normal(0.0, 1.0), obs=torch.tensor(1.0))


FAULTS = [
    (z_model, None, "The guide lacks the model's latent `latent`"),
    (z_model, z_guide("latnet"), "lacks the model's latent `latent`, and samples `latnet`, which .* Rename `latnet`"),
    (z_model, z_guide("x"), "The guide samples `x`, which the model observes"),
    (z_model, observer, "The guide observes `seen`"),
    (
        z_model,
        outside,
        r"`latent` is inside the plate `data` only in the model. Put it inside `with pyro.plate",
    ),
    (z_model, other_size, r"The plate `data` has different sizes in model and guide: \[2, 3\]"),
    (sequential, None, r"The plate `data` around `x0` in the model is a loop over the data. Write it as a context"),
    (bare, bare, r"The guide samples `x`|The guide observes `x`"),
    (
        bare,
        lambda x: pyro.sample("latent", dist.Normal(torch.zeros(3), 1.0)),
        r"`latent` in the model has batch shape \(3,\), wider than the plates",
    ),
]


@pytest.mark.parametrize(("model", "guide", "message"), FAULTS)
def test_faults_are_named(model, guide, message):
    with pytest.raises(ModelError, match=message):
        describe(model, guide)


def test_a_forgotten_to_event_is_found_even_when_shapes_fit():
    """Three data of three features: without `to_event` each column would pass for a datum."""
    message = r"`x` in the model has batch shape \(3, 3\), wider than the plates around it: .* Mark the extra"
    with pytest.raises(ModelError, match=message):
        describe(square, None, x=torch.zeros(3, 3))


def test_trap_5_an_autoguide_that_would_see_other_rows():
    """Pyro's autoguides draw a random subsample of their own where the model is told its rows."""
    rows = torch.tensor([1, 4, 7])

    def subsampled(x):
        with pyro.plate("data", 9, subsample=rows):
            z = pyro.sample("latent", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pyro.settings.context(module_local_params=True):
        guide = AutoNormal(subsampled)
        guide(X)
    for other in (guide, build_guide("normal", subsampled, {"x": X})):
        with pytest.raises(ModelError, match="The guide's plate `data` has other rows than the model's"):
            describe(subsampled, other)


def test_inside_the_plate_in_one_of_the_two():
    def inside(x):
        with pyro.plate("data", len(x)):
            pyro.sample("w", dist.Normal(0.0, 1.0))

    def also(x):
        with pyro.plate("elsewhere", len(x)):
            pyro.sample("w", dist.Normal(torch.zeros(3), 1.0))

    with pytest.raises(ModelError, match="`w` is inside the plate `data` only in the model"):
        describe(inside, also)


def test_a_guide_site_marked_auxiliary_is_accepted_where_a_latent_is_its_image():
    def guide(x):
        with pyro.plate("data", len(x)):
            helper = pyro.sample("helper", dist.Normal(x, 1.0), infer={"is_auxiliary": True})
            pyro.sample("latent", dist.Delta(helper))

    assert describe(z_model, guide).sites["helper"].kind == "auxiliary"


def test_deterministic_sites_carry_no_density():
    def with_deterministic(x):
        pyro.deterministic("copy", x)
        z_model(x)

    assert list(describe(with_deterministic, z_guide()).sites) == ["latent", "x"]


# -- the pair as a module ------------------------------------------------------------


def test_parameters_of_statements_live_in_the_program():
    def model(x):
        scale = pyro.param("noise.scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, scale), obs=x)

    program = Program(model)
    program.structure({"x": X})
    ((name, value),) = program.named_parameters()
    assert name == "pyro_params.noise__scale" and float(value.detach()) == pytest.approx(torch.tensor(0.5).log().item())
    assert not list(pyro.get_param_store().keys())


def test_detached_guides_keep_their_values_and_come_back():
    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.tensor(0.3))

        def forward(self, x):
            return self.loc * 2

    guide = Guide()
    program = Program(z_model, guide)
    parameter = guide.loc
    with detached(program):
        inside = program.guide(X)
        assert not inside.requires_grad and float(inside) == pytest.approx(0.6)
    assert guide.loc is parameter and program.guide(X).requires_grad
