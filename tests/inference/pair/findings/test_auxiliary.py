"""Auxiliary draws need an image or a reverse density; point masses have none, whatever stands beside them."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import autoguide
from torch import nn

from jensen.inference import SVI, log_evidence, pareto_k
from jensen.inference.doctor import examine
from jensen.inference.errors import ModelError
from jensen.inference.guides import build_guide
from jensen.inference.pair.program import Program

pytestmark = pytest.mark.usefixtures("doctor_agrees")

X = torch.tensor([0.4, -1.0, 0.3, 2.0])


def model(x):
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
    p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(a, s))
        pyro.sample("x", dist.Normal(z, 0.1 + p[0]), obs=x)


AUTOGUIDES = [
    "AutoNormal",
    "AutoDiagonalNormal",
    "AutoMultivariateNormal",
    "AutoLowRankMultivariateNormal",
    "AutoIAFNormal",
    "AutoStructured",
    "AutoGaussian",
]


@pytest.mark.parametrize("name", AUTOGUIDES)
def test_pyros_autoguides_map_every_draw_to_a_latent(name):
    structure = Program(model, build_guide(getattr(autoguide, name), model, {"x": X})).structure({"x": X})
    assert not structure.findings


@pytest.mark.parametrize("name", ["AutoDelta", "AutoLaplaceApproximation"])
def test_point_masses_are_noted(name):
    structure = Program(model, build_guide(getattr(autoguide, name), model, {"x": X})).structure({"x": X})
    assert [(f.code, f.where) for f in structure.findings] == [("point-mass", n) for n in ("a", "s", "p", "z")]


def mean_only(x):
    """log p(x) is that of x ~ N(0, 1 + 1 1')."""
    m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(m, 1.0), obs=x)


def two(x):
    m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
    k = pyro.sample("k", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(m + k, 1.0), obs=x)


def half_a_point(program):
    guide = autoguide.AutoGuideList(program)
    guide.append(autoguide.AutoDelta(pyro.poutine.block(program, expose=["m"])))
    guide.append(autoguide.AutoNormal(pyro.poutine.block(program, expose=["k"])))
    return guide


class Twin(nn.Module):
    """The second latent is a function of the first: together they have no density."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        m = pyro.sample("m", dist.Normal(self.loc, 1.0))
        pyro.sample("k", dist.Delta(2.0 * m))


@pytest.mark.parametrize("score", [log_evidence, pareto_k])
@pytest.mark.parametrize(
    ("program", "guide", "site"),
    [
        (mean_only, autoguide.AutoLaplaceApproximation, "m"),
        (two, half_a_point, "m"),
        (two, lambda model: Twin(), "k"),
    ],
)
def test_scores_refuse_point_masses(program, guide, site, score):
    fit = SVI(steps=2, guide=guide, progress=False, compile=False).fit(program, X)
    with pytest.raises(ModelError, match=f"needs a guide with a density, but the guide of `{site}` is a point mass"):
        score(fit)


class Free(nn.Module):
    """An auxiliary draw that nothing follows: its entropy would be added to the bound."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        pyro.sample("u", dist.Normal(0.0, self.log_scale.exp()), infer={"is_auxiliary": True})
        pyro.sample("m", dist.Normal(self.loc, 0.4))


class Mixing(Free):
    """An auxiliary draw that a latent's distribution depends on, without being its image."""

    def forward(self, x):
        u = pyro.sample("u", dist.Normal(0.0, self.log_scale.exp()), infer={"is_auxiliary": True})
        pyro.sample("m", dist.Normal(self.loc + u, 0.4))


class Wide(Free):
    """Two auxiliary draws, one latent as their sum."""

    def forward(self, x):
        base = dist.Normal(torch.zeros(2), self.log_scale.exp()).to_event(1)
        u = pyro.sample("u", base, infer={"is_auxiliary": True})
        pyro.sample("m", dist.Delta(self.loc + u.sum()))


@pytest.mark.parametrize("guide", [Free, Mixing, Wide])
def test_auxiliary_draws_without_a_reverse_density_are_refused(guide):
    message = "auxiliary draws `u` .* are not mapped one to one .* reverse density: sample `u`"
    with pytest.raises(ModelError, match=message):
        SVI(steps=2, guide=lambda model: guide(), progress=False).fit(mean_only, X)
    report = examine(mean_only, guide(), X)
    assert "unmapped-auxiliary" in {fault.code for fault in report.faults}


def test_with_the_reverse_density_that_the_message_asks_for_the_bound_is_one(float64):
    """q(u) q(m | u) against p(m, x) r(u | m): weights average to p(x), which is known."""
    x = X.double()

    def extended(x):
        m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        pyro.sample("u", dist.Normal(0.5 * m, 0.7))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(m, 1.0), obs=x)

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            u = pyro.sample("u", dist.Normal(self.loc, 0.7))
            pyro.sample("m", dist.Normal(self.loc + 0.3 * u, 0.6))

    fit = SVI(steps=200, lr=0.02, guide=lambda model: Guide(), progress=False).fit(extended, x)
    evidence = log_evidence(fit, num_particles=20_000)
    exact = dist.MultivariateNormal(torch.zeros(4), torch.eye(4) + torch.ones(4, 4)).log_prob(x)
    assert abs(evidence.value - float(exact)) < 4 * evidence.stderr
    assert evidence.stderr < 0.05 and math.isfinite(evidence.value)
