"""The autoregressive decoder: a law over all binary data; it collapses under plain training and not with annealing."""

from __future__ import annotations

import pytest
import torch

from jensen.datasets import digits, threshold
from jensen.inference import IWAE, SVI, BetaELBO, Linear, active_units, elbo_terms, log_evidence
from jensen.models import VAE, AutoregressiveBernoulli


@pytest.fixture
def likelihood(float64):
    torch.manual_seed(0)
    return AutoregressiveBernoulli((2, 3), hidden=(16,))


@pytest.fixture
def every(likelihood):
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).reshape(64, 2, 3).double()


def test_probabilities_sum_to_one(likelihood, every):
    law = likelihood(torch.randn(5, 1, 2, 3))
    torch.testing.assert_close(law.log_prob(every).exp().sum(-1), torch.ones(5))


def test_draws_have_their_probabilities(likelihood, every):
    law = likelihood(torch.randn(2, 3))
    draws = law.sample((20_000,))
    assert draws.shape == (20_000, 2, 3)
    code = 2.0 ** torch.arange(5, -1, -1)
    counts = torch.bincount((draws.flatten(1) @ code).long(), minlength=64)
    probability = law.log_prob(every).exp()
    error = (counts / 20_000 - probability) / (probability / 20_000).sqrt()
    assert error.abs().max() < 4.5


def test_a_feature_sees_only_the_window_before_it(float64):
    torch.manual_seed(0)
    network = AutoregressiveBernoulli((7,), hidden=(32,), window=2).network
    seen = torch.autograd.functional.jacobian(network, torch.randn(7)) != 0
    place = torch.arange(7)
    ahead = place[:, None] - place
    assert torch.equal(seen, (ahead > 0) & (ahead <= 2))


def test_a_traced_fit_and_what_can_be_asked_of_it():
    torch.manual_seed(0)
    x = (torch.rand(50, 4) < 0.5).float()
    model = VAE(4, 2, hidden=(8,), likelihood=AutoregressiveBernoulli((4,), hidden=(8,)))
    fit = SVI(IWAE(3), steps=20, compile="trace", progress=False).fit(model, x, seed=0)
    assert fit.model.reconstruct(x).shape == (50, 4)
    assert set(fit.model.generate(6, seed=0)["x"].unique().tolist()) <= {0.0, 1.0}
    with pytest.raises(ValueError, match=r"`x` must be 0 or 1 for a Bernoulli likelihood, got 0\.5"):
        model.check_data(torch.full((2, 4), 0.5))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        AutoregressiveBernoulli((4,), window=0)


def test_collapse_under_plain_training_is_cured_by_annealing():
    """The longer and repeated comparison is benchmarks/quality_checks/posterior_collapse.py."""
    data = threshold(digits(test_size=0.2, seed=0)).select("x")
    units, kl, evidence = {}, {}, {}
    for name, beta in (("plain", 1.0), ("annealed", Linear(0.0, 1.0, until=0.5))):
        torch.manual_seed(0)
        model = VAE(64, 8, hidden=(100,), likelihood=AutoregressiveBernoulli((64,), hidden=(256,)))
        method = SVI(BetaELBO(beta), steps=1_500, lr=1e-2, batch_size=128, compile="trace", progress=False)
        fit = method.fit(model, data.train, seed=0)
        units[name] = active_units(fit, data.test, num_particles=64).value
        kl[name] = elbo_terms(fit, data.test, num_particles=8).details["kl"]["z"].per_datum.value
        evidence[name] = log_evidence(fit, data.test, num_particles=100).per_datum.value
    assert units["plain"] <= 2
    assert units["annealed"] >= 5
    assert kl["plain"] < 0.2
    assert kl["annealed"] > 2
    assert evidence["annealed"] > evidence["plain"] + 0.3
