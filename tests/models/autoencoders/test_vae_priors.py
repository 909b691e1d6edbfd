"""Learned priors of the autoencoder: the mixture's density, and traced fits with it."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

from jensen.inference import SVI, Trace_ELBO, log_evidence
from jensen.models import VAE, VampPrior


def test_density_is_the_mixture_of_posteriors_at_the_pseudo_inputs():
    torch.manual_seed(0)
    model = VAE(5, 2, hidden=(4,), prior=VampPrior((5,), 3)).double()
    model.prior.initialize(torch.rand(6, 5).double(), seed=0)
    z = torch.randn(7, 2).double()
    loc, scale = model.encoder(model.prior.pseudo_inputs)
    expected = (Normal(loc, scale).log_prob(z[:, None]).sum(-1) - torch.tensor(3.0).double().log()).logsumexp(-1)
    torch.testing.assert_close(model.prior(model.encoder).log_prob(z), expected)
    assert model.generate(4, seed=0)["x"].shape == (4, 5)


def test_a_traced_fit_gives_evidence():
    torch.manual_seed(1)
    x = (torch.rand(200, 1) < 0.5).float().repeat(1, 6)
    model = VAE(6, 2, hidden=(8,), prior=VampPrior((6,), 4))
    fit = SVI(Trace_ELBO(), steps=400, lr=1e-2, compile="trace").fit(model, {"x": x}, seed=0)
    value = log_evidence(fit, {"x": x}, seed=0, num_particles=200).value
    assert -200 * 6 * 0.6931 * 0.6 < value < -200 * 0.6


def test_more_pseudo_inputs_than_data():
    with pytest.raises(ValueError, match="`num_components` must be at most the number of data"):
        VampPrior((5,), 3).initialize(torch.zeros(2, 5), seed=0)
