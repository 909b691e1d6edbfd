"""The two-layer autoencoder: densities, a fit that raises the bound, and its errors."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine
from torch.distributions import Normal

from jensen.inference import IWAE, SVI, Trace_ELBO, log_evidence
from jensen.models import HierarchicalVAE


def small() -> HierarchicalVAE:
    return HierarchicalVAE(6, (3, 2), hidden=(8,), upper_hidden=(5,))


def test_densities_of_both_layers():
    torch.manual_seed(0)
    model = small().double()
    x = model.generate(7, seed=1)["x"]
    guide = poutine.trace(model.guide).get_trace(x)
    replayed = poutine.trace(poutine.replay(model.model, guide)).get_trace(x)
    z1, z2 = (guide.nodes[name]["value"] for name in ("z1", "z2"))
    expected_q = Normal(*model.encode(x)).log_prob(z1).sum() + Normal(*model.upper_encoder(z1)).log_prob(z2).sum()
    torch.testing.assert_close(guide.log_prob_sum(), expected_q)
    log_odds = model.decoder(z1)
    expected_p = Normal(0.0, 1.0).log_prob(z2).sum() + Normal(*model.lower_prior(z2)).log_prob(z1).sum()
    expected_p = expected_p + (x * log_odds - torch.nn.functional.softplus(log_odds)).sum()
    torch.testing.assert_close(replayed.log_prob_sum(), expected_p)


@pytest.mark.parametrize("objective", [Trace_ELBO(), IWAE(5)], ids=["elbo", "iwae"])
def test_a_traced_fit_raises_the_evidence(objective):
    torch.manual_seed(1)
    # Two kinds of rows: an evidence above that of independent columns needs the latents.
    x = (torch.rand(200, 1) < 0.5).float().repeat(1, 6)
    fit = SVI(objective, steps=400, lr=1e-2, compile="trace").fit(small(), {"x": x}, seed=0)
    value = log_evidence(fit, {"x": x}, seed=0, num_particles=200)
    independent = -200 * 6 * 0.6931
    assert value.value > 0.6 * independent
    assert value.value < -200 * 0.6  # the truth is one bit a row, 0.693 nats


def test_reconstructions_and_draws():
    model = small()
    x = model.generate(4, seed=0)["x"]
    assert model.reconstruct(x).shape == (4, 6)
    assert model.reconstruct(x, num=3).shape == (3, 4, 6)


def test_the_upper_layer_is_embedded_and_decoded():
    torch.manual_seed(0)
    model = small()
    x = model.generate(4, seed=0)["x"]
    assert model.embed(x).shape == (4, model.latent_dim) == (4, 2)
    torch.testing.assert_close(model.embed(x), model.upper_encoder(model.encode(x)[0])[0])
    with torch.no_grad():  # a lower layer without spread is its mean
        scale = model.lower_prior(z2 := torch.randn(4, 2))[1]
        draws = Normal(model.lower_prior(z2)[0], 1e-6 * scale).sample()
    torch.testing.assert_close(model.decode_upper(z2), model.decode(draws), atol=1e-4, rtol=1e-4)


def test_bad_input():
    with pytest.raises(ValueError, match="`latent_dims` must be two sizes"):
        HierarchicalVAE(6, (3,))
    with pytest.raises(ValueError, match="must be positive"):
        HierarchicalVAE(6, (3, 0))
    with pytest.raises(ValueError, match=r"`x` must have shape \(N, 6\)"):
        small().check_data(torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"`x` must lie in \[0, 1\]"):
        small().check_data(torch.full((4, 6), 2.0))
    with pytest.raises(ValueError, match="bernoulli_grey"):
        small().check_data(torch.full((4, 6), 0.5))
