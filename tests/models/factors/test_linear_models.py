"""The two reference models: exact evidence and posterior against direct integration."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch.autograd import grad

from jensen.models import BayesianLinearRegression, HasExactEvidence, HasExactPosterior, LinearGaussian
from jensen.models.common.parameter_scope import local_parameters


@pytest.fixture
def regression():
    torch.manual_seed(0)
    model, x = BayesianLinearRegression(3, prior_scale=1.5, noise_scale=0.7), torch.randn(8, 3).double()
    return model, {"x": x, "y": model.generate(8, x=x, seed=1)["y"]}


@pytest.fixture
def gaussian():
    torch.manual_seed(0)
    model = LinearGaussian(4, 2, scale=0.6).double()
    with torch.no_grad():
        model.bias.normal_()
    return model, {"x": model.generate(9, seed=1)["x"]}


def test_protocols(regression, gaussian):
    for model, _ in (regression, gaussian):
        assert isinstance(model, HasExactEvidence)
        assert isinstance(model, HasExactPosterior)


def test_regression_evidence_is_the_marginal_normal(regression):
    model, data = regression
    covariance = 1.5**2 * data["x"] @ data["x"].T + 0.7**2 * torch.eye(8).double()
    expected = scipy.stats.multivariate_normal(cov=covariance.numpy()).logpdf(data["y"].numpy())
    assert model.log_evidence(data).item() == pytest.approx(expected, rel=1e-10)


def test_regression_posterior_obeys_bayes_rule_everywhere(regression):
    model, data = regression
    posterior = model.exact_posterior(data)["w"]
    for w in torch.randn(4, 3).double():
        joint = poutine.trace(poutine.condition(model.model, {"w": w})).get_trace(**data).log_prob_sum()
        torch.testing.assert_close(joint - posterior.log_prob(w), model.log_evidence(data))


def test_gaussian_evidence_against_quadrature(gaussian):
    model, data = gaussian
    grid = torch.linspace(-8, 8, 401, dtype=torch.float64)
    z = torch.cartesian_prod(grid, grid)
    mean = z @ model.weight.T + model.bias
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    for n in range(2):
        log_likelihood = torch.distributions.Normal(mean, model.scale).log_prob(data["x"][n]).sum(-1)
        integral = (log_prior + log_likelihood).logsumexp(0) + 2 * (grid[1] - grid[0]).log()
        torch.testing.assert_close(integral, model.log_evidence(data)[n], rtol=1e-8, atol=1e-8)


def test_gaussian_posterior_obeys_bayes_rule_for_each_datum(gaussian):
    model, data = gaussian
    posterior = model.exact_posterior(data)["z"]
    assert posterior.batch_shape == (9,)
    z = torch.randn(9, 2).double()
    trace = poutine.trace(poutine.condition(model.model, {"z": z})).get_trace(**data)
    trace.compute_log_prob()
    joint = trace.nodes["z"]["log_prob"] + trace.nodes["x"]["log_prob"]
    torch.testing.assert_close(joint - posterior.log_prob(z), model.log_evidence(data))


def test_exact_guide_has_the_posterior_weights(gaussian):
    model, data = gaussian
    model.set_exact_guide()
    with local_parameters():
        guide = poutine.trace(model.guide).get_trace(**data)
        replayed = poutine.trace(poutine.replay(model.model, guide)).get_trace(**data)
    guide.compute_log_prob()
    replayed.compute_log_prob()
    weight = replayed.nodes["z"]["log_prob"] + replayed.nodes["x"]["log_prob"] - guide.nodes["z"]["log_prob"]
    torch.testing.assert_close(weight, model.log_evidence(data))  # the weight of any draw is the evidence


@pytest.mark.parametrize("posterior", ["full", "diagonal"])
def test_set_exact_guide_is_the_optimum_of_the_bound(posterior):
    torch.manual_seed(0)
    model = LinearGaussian(4, 2, posterior=posterior).double()
    x = model.generate(5, seed=1)["x"]
    model.set_exact_guide()
    loc, scale = x @ model.guide_weight.T + model.guide_bias, model.guide_scale
    covariance = scale @ scale.T if posterior == "full" else torch.diag(scale**2)
    # The bound in closed form: E_q[log p(x | z)] - KL(q || p).
    weight, noise = model.weight, model.scale
    residual = (x - loc @ weight.T - model.bias).square().sum(-1) + torch.trace(weight @ covariance @ weight.T)
    log_likelihood = -0.5 * residual / noise**2 - 4 * noise.log() - 2 * torch.tensor(2 * torch.pi).log()
    kl = 0.5 * (torch.trace(covariance) + loc.square().sum(-1) - 2 - torch.logdet(covariance))
    bound = (log_likelihood - kl).sum()
    slopes = grad(bound, [model.guide_weight, model.guide_bias, model.guide_scale_unconstrained])
    assert all(slope.abs().max() < 1e-9 for slope in slopes)
    exact = model.log_evidence({"x": x}).sum()
    if posterior == "full":
        torch.testing.assert_close(bound, exact)
    else:
        assert bound < exact


@pytest.mark.parametrize("posterior", ["full", "diagonal"])
def test_the_kl_of_the_guide_is_analytic(posterior):
    model = LinearGaussian(4, 2, posterior=posterior).double()
    x = model.generate(5, seed=1)["x"]
    model.weight.requires_grad_(False).zero_()  # then only the KL depends on the guide, and no draw on it
    torch.manual_seed(1)
    with local_parameters():
        losses = [TraceMeanField_ELBO().differentiable_loss(model.model, model.guide, x=x) for _ in range(2)]
    torch.testing.assert_close(losses[0], losses[1])


def test_only_the_guide_learns_when_asked():
    model = LinearGaussian(4, 2, learn=False)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        "guide_weight",
        "guide_bias",
        "guide_scale_unconstrained",
    }


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`posterior` must be one of .* got 'diag'. Did you mean 'diagonal'\?"):
        LinearGaussian(4, 2, posterior="diag")
    with pytest.raises(ValueError, match="`latent_dim` must be positive, got 0"):
        LinearGaussian(4, 0)
    with pytest.raises(ValueError, match=r"`x` must have shape \(N, 4\)"):
        LinearGaussian(4, 2).check_data(torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"`y` must have shape \(N\)"):
        BayesianLinearRegression(4).check_data(torch.zeros(3, 4), torch.zeros(3, 1))
