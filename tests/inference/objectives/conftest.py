"""What the tests of the objectives share: repeated bounds and gradients, tolerance from the standard error."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from jensen.inference import minibatch
from jensen.inference.pair.program import Program
from jensen.inference.pair.terms import evaluate
from jensen.models import BayesianLinearRegression, LinearGaussian


@pytest.fixture(autouse=True)
def _float64(float64):
    """All these tests compute in float64."""


class Numerics:
    """Monte Carlo of bounds and gradients."""

    def terms(self, objective, program, batch, draws):
        return evaluate(
            program,
            batch,
            num_particles=draws,
            analytic_kl=objective.analytic_kl,
            detach_guide=objective.detach_guide,
            enumerate_guide=objective.enumerate_guide,
            sum_guide=objective.sum_guide,
        )

    def bounds(self, objective, program, batch, repeats=200, data_size=None):
        """`repeats` independent values of the plain bound, from one vectorised draw."""
        size = data_size or len(next(iter(batch.values())))
        count = objective.num_particles
        with torch.no_grad(), minibatch(size):
            terms = self.terms(objective, program, batch, count * repeats)
        pieces = [self.slice(terms, slice(i * count, (i + 1) * count), count) for i in range(repeats)]
        return torch.stack([objective.reduce(piece, objective.schedule(1.0)).bound for piece in pieces])

    @staticmethod
    def slice(terms, rows, count):
        """The terms of some of the particles."""

        def cut(value):
            return value[rows] if isinstance(value, torch.Tensor) else value

        sites = {
            name: dataclasses.replace(site, log_p=cut(site.log_p), log_q=cut(site.log_q), kl=cut(site.kl))
            for name, site in terms.sites.items()
        }
        return dataclasses.replace(terms, sites=sites, num_particles=count)

    def gradient(self, objective, program, batch, parameters, data_size=None):
        """The gradient of the objective (not the loss), per parameter; zeros where there is none."""
        parameters = list(parameters)
        with minibatch(data_size or len(next(iter(batch.values())))):
            bound = objective.bound(program, batch, weight=objective.schedule(1.0))
        found = torch.autograd.grad(bound.surrogate, parameters, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]

    def gradients(self, objective, program, batch, parameters, repeats, data_size=None):
        """``(repeats, P)``: independent gradients, flattened."""
        parameters = list(parameters)
        rows = [self.gradient(objective, program, batch, parameters, data_size) for _ in range(repeats)]
        return torch.stack([torch.cat([g.reshape(-1) for g in row]) for row in rows])

    def flat(self, tensors):
        return torch.cat([t.reshape(-1) for t in tensors])

    def agree(self, samples, expected, sigmas=4.5, slack=1e-9):
        """Assert that the mean over dim 0 is `expected` (a value, or other samples) within the standard error."""
        mean, variance = samples.mean(0), samples.var(0) / len(samples)
        if isinstance(expected, torch.Tensor) and expected.dim() == samples.dim():
            variance = variance + expected.var(0) / len(expected)
            expected = expected.mean(0)
        error = (mean - torch.as_tensor(expected)).abs()
        tolerance = sigmas * variance.sqrt() + slack
        assert bool((error <= tolerance).all()), f"off by {error.tolist()}, tolerance {tolerance.tolist()}"

    def at_most(self, samples, limit, sigmas=4.5):
        """Assert that the mean does not exceed `limit` by more than the standard error."""
        stderr = float(samples.std()) / math.sqrt(len(samples))
        assert float(samples.mean()) <= float(limit) + sigmas * stderr + 1e-9


@pytest.fixture(scope="session")
def numerics():
    return Numerics()


@pytest.fixture
def regression():
    """A regression with a diagonal posterior (orthogonal features), its data and its exact log evidence."""
    torch.manual_seed(3)
    x = torch.linalg.qr(torch.randn(8, 2))[0] * torch.tensor([1.5, 2.5])
    model = BayesianLinearRegression(2, prior_scale=1.5, noise_scale=0.7)
    data = {"x": x, "y": x @ torch.tensor([1.0, -0.5]) + 0.7 * torch.randn(8)}
    return model, data, float(model.log_evidence(data))


@pytest.fixture
def gaussian():
    """A local linear-Gaussian model with its own full-covariance guide, its data and its exact log evidence."""
    torch.manual_seed(4)
    model = LinearGaussian(3, 2, scale=0.8).double()
    with torch.no_grad():
        model.bias.normal_()
        model.guide_weight.normal_().mul_(0.3)
    data = {"x": model.generate(6, seed=1)["x"]}
    return model, data, float(model.log_evidence(data).sum().detach())


@pytest.fixture
def program_of():
    return lambda model, guide=None: Program(model, guide)
