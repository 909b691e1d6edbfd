"""Masked latents: default guides take the model's masks, other guides must, and what they hide is in no score."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from jensen.inference import SVI, Trace_ELBO, active_units, elbo_terms, log_evidence
from jensen.inference.doctor import examine
from jensen.inference.errors import ModelError
from jensen.inference.pair.program import Program
from jensen.models import LatentVariableModel

pytestmark = pytest.mark.usefixtures("doctor_agrees")

X = torch.tensor([0.5, -1.7, 0.0], dtype=torch.float64)
SEEN = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
GUIDES = ["normal", "multivariate_normal", "lowrank", "iaf", "flow"]


def missing(x, seen):
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(torch.zeros(len(x)), 1.0), obs=x, obs_mask=seen > 0)


def regression(x, y, seen):
    """A slope, and outcomes of which some were not seen."""
    w = pyro.sample("w", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(w * x, 1.0), obs=y, obs_mask=seen > 0)


def positive(x, seen):
    """Missing values of a positive likelihood: the guide goes through a transform."""
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Gamma(2.0 * torch.ones(len(x)), 1.0), obs=x.abs() + 0.1, obs_mask=seen > 0)


def _regression_evidence(x, y, seen):
    x, y = x[seen > 0], y[seen > 0]
    cov = torch.eye(len(x), dtype=torch.float64) + x[:, None] * x
    return float(dist.MultivariateNormal(torch.zeros(len(x), dtype=torch.float64), cov).log_prob(y))


@pytest.mark.parametrize("guide", GUIDES)
def test_missing_outcomes_add_nothing_to_the_evidence(guide, float64):
    fit = SVI(steps=300, lr=0.02, guide=guide, progress=False).fit(missing, {"x": X, "seen": SEEN})
    exact = float(dist.Normal(0.0, 1.0).log_prob(X[:2]).sum())
    evidence = log_evidence(fit)
    assert abs(evidence.value - exact) < 4 * evidence.stderr + 0.01
    assert exact - 2.0 < elbo_terms(fit).value < exact + 0.3  # a flow is far from trained; none is above without limit


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal"])
def test_missing_outcomes_of_a_regression(guide, float64):
    x, seen = torch.linspace(-2, 2, 12), (torch.arange(12) % 4 > 0).double()
    y = 0.8 * x + torch.randn(12)
    fit = SVI(steps=500, lr=0.02, guide=guide, progress=False).fit(regression, {"x": x, "y": y, "seen": seen})
    evidence = log_evidence(fit)
    assert abs(evidence.value - _regression_evidence(x, y, seen)) < 4 * evidence.stderr + 0.02


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal", "flow"])
def test_through_a_transform(guide, float64):
    fit = SVI(steps=300, lr=0.02, guide=guide, progress=False).fit(positive, {"x": X, "seen": SEEN})
    exact = float(dist.Gamma(torch.tensor(2.0), 1.0).log_prob(X[:2].abs() + 0.1).sum())
    evidence = log_evidence(fit)
    assert abs(evidence.value - exact) < 4 * evidence.stderr + 0.02


class Own(LatentVariableModel):
    """A guide of one's own, with the mask or without."""

    def __init__(self, masked):
        super().__init__()
        self.masked = masked
        self.loc = nn.Parameter(torch.zeros(()))
        self.log_scale = nn.Parameter(torch.zeros(()))

    def model(self, x, seen):
        missing(x, seen)

    def guide(self, x, seen):
        with pyro.plate("data", len(x)), poutine.mask(mask=seen <= 0 if self.masked else torch.tensor(True)):
            pyro.sample("x_unobserved", dist.Normal(self.loc, self.log_scale.exp()).expand([len(x)]))


def test_a_pair_that_masks_differently_is_refused(float64):
    data = {"x": X, "seen": SEEN}
    with pytest.raises(ModelError, match=r"mask of `x_unobserved` hides 2 of 3 of its values in the model and none in"):
        SVI(steps=2, progress=False).fit(Own(False), data)
    assert "mask-mismatch" in {fault.code for fault in examine(Own(False), None, data).faults}
    fit = SVI(steps=300, lr=0.02, progress=False).fit(Own(True), data)
    evidence = log_evidence(fit)
    exact = float(dist.Normal(0.0, 1.0).log_prob(X[:2]).sum())
    assert abs(evidence.value - exact) < 4 * evidence.stderr + 0.01


def test_other_masks_than_those_of_the_fit(float64):
    """A guide of the training data's masks does not serve data that miss other entries."""
    fit = SVI(steps=5, progress=False).fit(missing, {"x": X, "seen": SEEN})
    with pytest.raises(ModelError, match="mask of `x_unobserved`"):
        log_evidence(fit, {"x": X, "seen": 1 - SEEN})


def flat(x):
    """The prior of `z` is masked, and its value used: an improper model."""
    with poutine.mask(mask=False):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_a_masked_prior_whose_value_is_used_has_no_evidence(float64):
    fit = SVI(steps=300, lr=0.05, progress=False).fit(flat, X)
    loc = float(fit.guide.loc_z.detach())
    assert loc == pytest.approx(float(X.mean()), abs=0.1)  # the likelihood's maximum: no prior
    with pytest.raises(ModelError, match="`z` is masked in the model, which takes its prior away"):
        log_evidence(fit)
    with pytest.raises(ModelError, match="AutoMultivariateNormal has no density to aim at"):
        SVI(steps=2, guide="multivariate_normal", progress=False).fit(flat, X)


class Factors(LatentVariableModel):
    """Local latents of which the last rows are masked, with an amortised guide."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.log_scale = nn.Parameter(torch.full((2,), -3.0))

    def model(self, x, seen):
        with pyro.plate("data", len(x)), poutine.mask(mask=seen > 0):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(self, x, seen):
        with pyro.plate("data", len(x)), poutine.mask(mask=seen > 0):
            # masked rows are where they would be seen, if they counted
            loc = torch.where((seen > 0).unsqueeze(-1), self.slope * x.unsqueeze(-1), 100.0 * x.unsqueeze(-1))
            pyro.sample("z", dist.Normal(loc, self.log_scale.exp()).to_event(1))


def test_scores_per_dimension_leave_masked_rows_out(float64):
    x, seen = torch.randn(40), (torch.arange(40) < 20).double()
    data = {"x": x, "seen": seen}
    fit = SVI(steps=1, lr=1e-12, progress=False).fit(Factors(), data)
    alone = SVI(steps=1, lr=1e-12, progress=False).fit(Factors(), {n: v[:20] for n, v in data.items()})
    units, expected = active_units(fit, num_particles=500), active_units(alone, num_particles=500)
    assert units.details["count"] == expected.details["count"] == {"z": 1}
    difference = units.details["variance"]["z"] - expected.details["variance"]["z"]
    assert bool((difference.abs() < 5e-3).all())
    scale = math.exp(-3.0)
    slopes = torch.tensor([1.0, 0.0])
    kl = 0.5 * (scale**2 + (slopes * x[:20, None]) ** 2 - 1) + 3.0
    found = elbo_terms(fit, num_particles=2_000).details["kl_per_dimension"]["z"]
    assert torch.allclose(found, kl.sum(0), rtol=0.02)


class Discrete(LatentVariableModel):
    """A masked choice that the likelihood uses, drawn by the guide: only the score function moves it."""

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(0.3))

    def model(self, x):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=torch.zeros(len(x), dtype=torch.bool)):
                c = pyro.sample("c", dist.Bernoulli(0.5 * torch.ones(len(x))))
            pyro.sample("x", dist.Normal(2.0 * c, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)), poutine.mask(mask=torch.zeros(len(x), dtype=torch.bool)):
            pyro.sample("c", dist.Bernoulli(logits=self.logit.expand(len(x))))


def test_a_masked_draw_keeps_its_score_function(float64):
    """d/dlogit sum_c q(c) log p(x | c): the values of a masked draw are used, so they have a gradient."""
    x = torch.tensor([1.9, 0.4])
    model = Discrete()
    program = Program(model)
    objective = Trace_ELBO(num_particles=4_000)
    gradients = []
    for seed in range(8):
        torch.manual_seed(seed)
        surrogate = objective.bound(program, {"x": x}).surrogate
        gradients.append(torch.autograd.grad(surrogate, model.logit)[0])
    gradient = torch.stack(gradients)
    q = torch.sigmoid(model.logit.detach())
    gain = dist.Normal(2.0, 1.0).log_prob(x) - dist.Normal(0.0, 1.0).log_prob(x)
    exact = float(q * (1 - q) * gain.sum())
    assert abs(exact) > 0.1
    assert abs(float(gradient.mean()) - exact) < 4 * float(gradient.std()) / 8**0.5
