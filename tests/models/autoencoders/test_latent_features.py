"""Draws of an autoencoder's posterior as data: the law they follow, their seed and their precision."""

from __future__ import annotations

import pytest
import torch
from pyro.distributions import Laplace
from torch import nn

from jensen.inference import SVI
from jensen.models import VAE, LatentFeatures

N, D, L = 6, 16, 3


class LaplacePosterior(nn.Module):
    """A law that is neither a diagonal Gaussian nor a flow."""

    def forward(self, loc, scale):
        return Laplace(loc, scale).to_event(1)


def strong(posterior):
    """A VAE whose flow, if it has one, is far from the identity, and data for it."""
    torch.manual_seed(0)
    vae = VAE(D, L, hidden=(8,), posterior=posterior)
    with torch.no_grad():
        for parameter in vae.posterior.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return vae, torch.rand(N, D).round()


@pytest.mark.parametrize("posterior", [None, "planar", "iaf", "spline", LaplacePosterior()])
def test_draws_are_of_the_whole_posterior(posterior):
    vae, x = strong(posterior)
    features = LatentFeatures(vae, x, min_std=0.0)
    assert features.num_features == L
    count = 4_000
    drawn = features({"x": x.repeat(count, 1)}, 1)["x"].unflatten(0, (count, N))
    torch.manual_seed(2)
    expected = vae.infer(x).sample((count,))
    for moment in (drawn, expected), (drawn**2, expected**2):
        one, other = (part.double() for part in moment)
        error = ((one.var(0) + other.var(0)) / count).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 5 * error).all()
    torch.testing.assert_close(features.mean(x), vae.embed(x))


def test_a_flow_bends_the_draws_away_from_the_gaussian():
    vae, x = strong("spline")
    drawn = LatentFeatures(vae, x, min_std=0.0)({"x": x.repeat(4_000, 1)}, 1)["x"].unflatten(0, (4_000, N))
    loc, scale = vae.encode(x)
    assert ((drawn.mean(0) - loc).abs() > 5 * scale / 4_000**0.5).any()


@pytest.mark.parametrize("posterior", [None, "iaf", LaplacePosterior()])
def test_a_seed_or_a_generator_repeats_the_draws(posterior):
    vae, x = strong(posterior)
    features, batch = LatentFeatures(vae, x, min_std=0.0), {"x": x}
    first = features(batch, 3)["x"]
    state = torch.random.get_rng_state()
    assert torch.equal(first, features(batch, torch.Generator().manual_seed(3))["x"])
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first, features(batch, 4)["x"])
    generator = torch.Generator().manual_seed(3)
    assert not torch.equal(features(batch, generator)["x"], features(batch, generator)["x"])
    torch.manual_seed(5)
    free = features(batch)["x"]
    torch.manual_seed(5)
    assert torch.equal(free, features(batch)["x"])


def test_the_draws_of_a_gaussian_need_noise_only_for_what_is_kept():
    vae, x = strong(None)
    spread = vae.embed(x).detach().std(0).sort().values
    features = LatentFeatures(vae, x, min_std=float(spread[0]))
    assert features.num_features == L - 1
    loc, scale = (part[:, features.keep] for part in vae.encode(x))
    noise = torch.randn(N, L - 1, generator=torch.Generator().manual_seed(7))
    assert torch.equal(features({"x": x}, 7)["x"], loc + scale * noise)


def test_the_precision_is_the_datas_and_the_autoencoder_keeps_its_own():
    vae, x = strong("spline")
    features = LatentFeatures(vae, x.double(), min_std=0.0)
    assert features({"x": x.double()}, 0)["x"].dtype == features.mean(x.double()).dtype == torch.float64
    assert features({"x": x.to(torch.uint8)}, 0)["x"].dtype == features.mean(x.to(torch.uint8)).dtype == torch.float32
    torch.testing.assert_close(features({"x": x.double()}, 0)["x"].float(), features({"x": x}, 0)["x"])


@pytest.mark.parametrize("posterior", [None, "iaf", LaplacePosterior()])
def test_a_second_model_is_fitted_on_draws_in_any_precision(posterior):
    vae, x = strong(posterior)
    features = LatentFeatures(vae, x, min_std=0.0)
    second = VAE(L, 2, likelihood="gaussian_fixed", hidden=(4,))
    fit = SVI(steps=3, dtype=torch.float64, transform=features, progress=False, compile="trace").fit(second, x)
    assert next(fit.model.parameters()).dtype == torch.float64
