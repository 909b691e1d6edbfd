"""Gradients of the mean-field bound of logistic regression: by hand, by autograd, by Monte Carlo and by quadrature."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.nn import functional

from jensen.inference import Trace_ELBO, TraceMeanField_ELBO
from jensen.inference.pair.program import Program
from jensen.models import BayesianLogisticRegression

LOC, LOG_SCALE = 0.6, -0.8


class MeanField(nn.Module):
    """q(w) = Normal(loc, exp(log_scale)) of one weight, with or without a pathwise gradient."""

    def __init__(self, pathwise):
        super().__init__()
        self.loc = nn.Parameter(torch.tensor([LOC]))
        self.log_scale = nn.Parameter(torch.tensor([LOG_SCALE]))
        self.pathwise = pathwise

    def forward(self, x, y=None):
        normal = dist.Normal(self.loc, self.log_scale.exp())
        pyro.sample("w", (normal if self.pathwise else normal.has_rsample_(False)).to_event(1))


@pytest.fixture
def data(float64):
    torch.manual_seed(3)
    x = torch.randn(40, 1)
    return {"x": x, "y": torch.bernoulli(torch.sigmoid(1.2 * x[:, 0]))}


def log_joint(w, data):
    """log p(y, w) for weights of any shape, by hand."""
    signs = 2 * data["y"] - 1
    likelihood = functional.logsigmoid(signs * data["x"][:, 0] * w[..., None]).sum(-1)
    return likelihood - 0.5 * w.square() - 0.5 * math.log(2 * math.pi)


@pytest.fixture
def exact(data):
    """The bound's value and gradient by Gauss-Hermite quadrature of 100 nodes, differentiated by autograd."""
    nodes, weights = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(100))
    parameters = torch.tensor([LOC, LOG_SCALE], requires_grad=True)
    w = parameters[0] + parameters[1].exp() * nodes
    entropy = parameters[1] + 0.5 * math.log(2 * math.pi * math.e)
    bound = (weights / weights.sum() * log_joint(w, data)).sum() + entropy
    return bound.detach(), torch.autograd.grad(bound, parameters)[0]


def by_hand(eps, data):
    """The two estimators of the gradient in (loc, log scale), one row a draw, written out without autograd."""
    scale = math.exp(LOG_SCALE)
    w = LOC + scale * eps
    signs = 2 * data["y"] - 1
    slopes = signs * data["x"][:, 0]
    # d log p(y, w) / dw
    force = (slopes * torch.sigmoid(-slopes * w[:, None])).sum(-1) - w
    pathwise = torch.stack([force, force * scale * eps + 1.0], -1)
    log_weight = log_joint(w, data) + 0.5 * eps.square() + LOG_SCALE + 0.5 * math.log(2 * math.pi)
    score = torch.stack([eps / scale, eps.square() - 1.0], -1)
    return pathwise, score * log_weight[:, None]


def test_both_estimators_by_hand_have_the_gradient_of_quadrature(data, exact, numerics):
    pathwise, score = by_hand(torch.randn(400_000), data)
    numerics.agree(pathwise, exact[1])
    numerics.agree(score, exact[1])
    assert (pathwise.var(0) < 0.2 * score.var(0)).all()  # why the reparameterised gradient is the default


@pytest.mark.parametrize(
    ("objective", "pathwise"),
    [(Trace_ELBO(16), True), (TraceMeanField_ELBO(16), True), (Trace_ELBO(16), False)],
    ids=["reparameterised", "analytic KL", "score function"],
)
def test_the_objectives_have_the_gradient_of_quadrature(objective, pathwise, data, exact, numerics):
    guide = MeanField(pathwise)
    program = Program(BayesianLogisticRegression(1, intercept=False), guide)
    objective.check(program.structure(data))
    found, values = [], []
    for seed in range(400):
        torch.manual_seed(seed)
        loss = objective.differentiable_loss(program.model, program.guide, **data)
        found.append(-torch.cat(torch.autograd.grad(loss, [guide.loc, guide.log_scale])))
        values.append(-loss.detach())
    numerics.agree(torch.stack(found), exact[1])
    numerics.agree(torch.stack(values), exact[0])


def test_the_pathwise_gradient_of_each_draw_is_the_one_by_hand(data):
    guide = MeanField(pathwise=True)
    program = Program(BayesianLogisticRegression(1, intercept=False), guide)
    objective = Trace_ELBO()
    objective.check(program.structure(data))
    for seed in range(5):
        torch.manual_seed(seed)
        loss = objective.differentiable_loss(program.model, program.guide, **data)
        found = -torch.cat(torch.autograd.grad(loss, [guide.loc, guide.log_scale]))
        torch.manual_seed(seed)
        with pyro.poutine.trace() as trace:
            program.guide(**data)
        eps = (trace.trace.nodes["w"]["value"].detach() - LOC) / math.exp(LOG_SCALE)
        torch.testing.assert_close(found, by_hand(eps, data)[0][0])
