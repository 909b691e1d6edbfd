"""The conditional autoencoder: exact in a linear-Gaussian case, digits drawn by label, labels checked."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from jensen.datasets import digits, threshold
from jensen.inference import SVI, Trace_ELBO, TraceMeanField_ELBO, elbo_terms, log_evidence
from jensen.models import ConditionalVAE


def linear(learned_prior: bool = False) -> ConditionalVAE:
    """x = W z + V y + b + noise, with the exact posterior as its guide (a latent of one dimension)."""
    torch.manual_seed(0)
    model = ConditionalVAE(
        3, 1, num_covariates=2, likelihood="gaussian_fixed", scale=0.7, hidden=(), learned_prior=learned_prior
    ).double()
    with torch.no_grad():
        decoder = model.decoder.network.output
        decoder.bias.normal_()
        weight, effect = decoder.weight[:, 0], decoder.weight[:, 1:]
        precision = 1 + weight @ weight / 0.49
        head = model.encoder.network.network.output
        head.weight.zero_()
        head.weight[0, :3] = weight / 0.49 / precision
        head.weight[0, 3:] = -(weight @ effect) / 0.49 / precision
        head.bias[0] = -(weight @ decoder.bias) / 0.49 / precision
        head.bias[1] = -0.5 * precision.log()
    return model


def log_density(model: ConditionalVAE, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """log p(x | y) in closed form."""
    decoder = model.decoder.network.output
    loc, spread = torch.zeros(len(y), 1).double(), torch.ones(len(y), 1).double()
    if model.prior_network is not None:
        loc, spread = model.prior_network(y)
    weight, effect = decoder.weight[:, :1], decoder.weight[:, 1:]
    covariance = (spread**2)[:, :, None] * (weight @ weight.T) + 0.49 * torch.eye(3).double()
    return MultivariateNormal(loc @ weight.T + y @ effect.T + decoder.bias, covariance).log_prob(x)


def test_the_bound_of_the_exact_posterior_is_the_conditional_evidence():
    model = linear()
    y = torch.randn(20, 2).double()
    x = model.generate(20, y=y, seed=1)["x"]
    expected = log_density(model, x, y).sum()
    loss = Trace_ELBO(3).differentiable_loss(model.model, model.guide, x=x, y=y)
    torch.testing.assert_close(-loss, expected)
    # its gradient in the model's parameters is the evidence's: E_q of the complete data's score, here in closed form
    loss = TraceMeanField_ELBO(4_000).differentiable_loss(model.model, model.guide, x=x, y=y)
    bias = model.decoder.network.output.bias
    (gradient,) = torch.autograd.grad(-loss, bias)
    (exact,) = torch.autograd.grad(expected, bias)
    torch.testing.assert_close(gradient, exact, rtol=0.02, atol=0.5)


@pytest.mark.parametrize("learned_prior", [False, True])
def test_the_evidence_is_that_of_x_given_y(float64, learned_prior):
    model = linear(learned_prior)
    y = torch.randn(10, 2)
    x = model.generate(10, y=y, seed=1)["x"]
    fit = SVI(TraceMeanField_ELBO(), steps=300, lr=1e-2, compile="trace").fit(model, {"x": x, "y": y})
    exact = log_density(fit.model, x, y).sum().item()
    evidence, bound = log_evidence(fit, num_particles=2_000, seed=1), elbo_terms(fit, seed=2)
    assert abs(evidence.value - exact) < 5 * evidence.stderr + 1e-6
    assert bound.value <= exact + 5 * bound.stderr


@pytest.mark.parametrize("objective", [Trace_ELBO(3), TraceMeanField_ELBO(2)])
def test_every_parameter_has_its_gradient_and_all_modes_agree(float64, objective):
    torch.manual_seed(0)
    model = ConditionalVAE((2, 3), 2, num_classes=3, hidden=(5,), learned_prior=True)
    y = torch.arange(3).repeat(4)
    data = {"x": model.generate(12, y=y, seed=0)["x"], "y": y}
    assert data["x"].shape == (12, 2, 3)
    objective.differentiable_loss(model.model, model.guide, **data).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    eager, traced = (SVI(objective, steps=10, compile=mode).fit(model, data) for mode in (False, "trace"))
    for a, b in zip(eager.model.parameters(), traced.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_digits_drawn_by_label_are_read_as_that_label():
    from sklearn.linear_model import LogisticRegression

    data = threshold(digits(test_size=0.2, seed=0))
    model = ConditionalVAE(64, 4, num_classes=10, hidden=(64,))
    fit = SVI(TraceMeanField_ELBO(), steps=600, lr=3e-3, batch_size=128, compile="trace").fit(model, data.train, seed=0)
    reader = LogisticRegression(max_iter=500).fit(data.train["x"].numpy(), data.train["y"].numpy())
    y = torch.arange(10).repeat_interleave(30)
    drawn = fit.model.generate(300, y=y, seed=0)["x"]
    assert (reader.predict(drawn.numpy()) == y.numpy()).mean() > 0.6  # chance is 0.1
    means = fit.model.decode(torch.zeros(10, 4), torch.arange(10)).detach()
    assert (reader.predict(means.numpy()) == torch.arange(10).numpy()).mean() >= 0.9


def test_one_label_serves_all_rows():
    torch.manual_seed(0)
    model = ConditionalVAE(4, 2, num_classes=3, hidden=(5,))
    same = model.generate(6, y=torch.full((6,), 2), seed=0)["x"]
    assert torch.equal(model.generate(6, y=2, seed=0)["x"], same)
    z = torch.randn(7, 6, 2)
    assert torch.equal(model.decode(z, 2), model.decode(z, torch.full((6,), 2)))
    assert model.reconstruct(same, 1).shape == (6, 4)
    assert model.reconstruct(same, 1, num=5).shape == (5, 6, 4)
    real = ConditionalVAE(4, 2, num_covariates=2, hidden=(5,))
    assert real.generate(3, y=[0.5, 1.0], seed=0)["x"].shape == (3, 4)
    real.initialize({"x": same, "y": torch.zeros(6, 2)}, 0)
    torch.testing.assert_close(real.decoder.network.output.bias.sigmoid(), (same.sum(0) + 0.5) / 7)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m: m.generate(2, y=3), r"`y` must hold labels in 0, ..., 2, got 3"),
        (lambda m: m.generate(2, y=torch.tensor([0, -1])), r"`y` must hold labels in 0, ..., 2, got -1"),
        (lambda m: m.generate(2), "`y` must be given to draw from this model"),
        (lambda m: m.generate(3, y=torch.tensor([0, 1])), "`y` must have one row for each of the 3 data"),
        (lambda m: m.decode(torch.zeros(1, 2), 5), r"`y` must hold labels in 0, ..., 2, got 5"),
        (lambda m: m.check_data(y=torch.zeros(2, 2)), r"`y` must be a vector of labels of shape \(N,\)"),
        (lambda m: m.check_data(y=torch.tensor([0.5])), r"`y` must hold labels in 0, ..., 2, got 0.5"),
        (lambda m: m.check_data(x=torch.zeros(2, 5)), r"`x` must have shape \(N, 4\)"),
        (
            lambda m: SVI().fit(m, {"x": torch.zeros(2, 4), "y": torch.tensor([1, 7])}),
            "`y` must hold labels in .* got 7",
        ),
        (lambda m: SVI().fit(m, {"x": torch.zeros(2, 4)}), "`ConditionalVAE` also needs `y`"),
    ],
)
def test_bad_data_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act(ConditionalVAE(4, 2, num_classes=3, hidden=(5,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Exactly one of `num_classes` .* and `num_covariates`"),
        ({"num_classes": 2, "num_covariates": 2}, "Exactly one of"),
        ({"num_classes": 0}, "`num_classes or num_covariates` must be positive, got 0"),
        ({"num_classes": 2, "latent_dim": 0}, "must be positive, got 0"),
        ({"num_classes": 2, "likelihood": "bernouli"}, "Did you mean 'bernoulli'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConditionalVAE(**{"data_shape": 4, "latent_dim": 2, **arguments})
