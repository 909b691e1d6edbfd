"""The variational autoencoder: densities, guide, networks of one's own, and its start at the data's marginals."""

from __future__ import annotations

import pytest
import torch
from pyro import poutine
from torch import nn
from torch.distributions import Categorical, Normal

from jensen.inference import SVI
from jensen.models import VAE
from jensen.models.autoencoders.parts.likelihoods import Bernoulli, Gaussian


def traces(model, x):
    guide = poutine.trace(model.guide).get_trace(x)
    replayed = poutine.trace(poutine.replay(model.model, guide)).get_trace(x)
    guide.compute_log_prob()
    replayed.compute_log_prob()
    return guide.nodes, replayed.nodes


def test_guide_and_model_densities():
    torch.manual_seed(0)
    model = VAE(6, 2, hidden=(5, 4)).double()
    x = model.generate(7, seed=1)["x"]
    guide, replayed = traces(model, x)
    z = guide["z"]["value"]
    torch.testing.assert_close(guide["z"]["log_prob"], Normal(*model.encode(x)).log_prob(z).sum(-1))
    torch.testing.assert_close(replayed["z"]["log_prob"], Normal(0.0, 1.0).log_prob(z).sum(-1))
    log_odds = model.decoder(z)
    expected = x * log_odds - torch.nn.functional.softplus(log_odds)
    torch.testing.assert_close(replayed["x"]["log_prob"], expected.sum(-1))


def test_any_modules_serve_as_networks():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolve = nn.Conv2d(1, 2, 3)
            self.head = nn.Linear(2 * 4 * 4, 3)

        def forward(self, x):
            h = self.convolve(x.unsqueeze(1)).tanh().flatten(1)
            return self.head(h), torch.nn.functional.softplus(self.head(h))

    decoder = nn.Sequential(nn.Linear(3, 36), nn.Unflatten(-1, (6, 6)))
    model = VAE((6, 6), 3, encoder=Encoder(), decoder=decoder)
    x = model.generate(5, seed=0)["x"]
    assert x.shape == (5, 6, 6)
    assert traces(model, x)[1]["x"]["log_prob"].shape == (5,)
    assert model.reconstruct(x).shape == (5, 6, 6)
    model.initialize({"x": x}, 0)
    assert {"encoder.convolve.weight", "decoder.0.bias"} <= {name for name, _ in model.named_parameters()}


def test_reconstructions_have_the_right_shapes_and_range():
    model = VAE((2, 3), 2, hidden=(4,))
    x = model.generate(5, seed=0)["x"]
    mean, draws = model.reconstruct(x), model.reconstruct(x, num=7)
    assert mean.shape == (5, 2, 3)
    assert draws.shape == (7, 5, 2, 3)
    assert ((draws > 0) & (draws < 1)).all()
    assert draws.std(0).max() > 0


def test_start_is_the_data_marginal():
    torch.manual_seed(0)
    x = (torch.rand(500, 4) < torch.tensor([0.0, 0.2, 0.5, 1.0])).float()
    model = VAE(4, 2, hidden=(3,))
    model.initialize({"x": x}, 0)
    torch.testing.assert_close(model.decoder.output.bias.sigmoid(), (x.sum(0) + 0.5) / 501)
    real = 3 + 2 * torch.randn(500, 4)
    model = VAE(4, 2, likelihood="gaussian", hidden=(3,))
    model.initialize({"x": real}, 0)
    torch.testing.assert_close(model.decoder.output.bias.detach(), real.mean(0))
    torch.testing.assert_close(model.likelihood.scale.detach(), real.std(0, correction=0), atol=2e-3, rtol=0)


def test_constant_entries_are_refused_under_a_learned_scale():
    torch.manual_seed(0)
    x = torch.randn(30, 6)
    x[:, 4] = 0.1  # its standard deviation rounds to more than 0
    model = VAE(6, 2, likelihood="gaussian", hidden=(3,))
    message = r"`x` is constant in 1 of its 6 entries \(4\), .* Drop them, .* likelihood=\"gaussian_fixed\""
    with pytest.raises(ValueError, match=message):
        model.initialize({"x": x}, 0)
    with pytest.raises(ValueError, match=message):
        SVI(steps=2, progress=False, compile=False).fit(model, x)
    image = torch.randn(30, 2, 3)
    image[:, 1] = image[:, 0, :1] = 2.0
    with pytest.raises(ValueError, match=r"in 4 of its 6 entries \(\(0, 0\), \(1, 0\), \(1, 1\), \.\.\.\)"):
        VAE((2, 3), 2, likelihood="gaussian", hidden=(3,)).initialize({"x": image}, 0)
    model.initialize({"x": x[:1]}, 0)  # one row varies nowhere, and says nothing about scales
    for rows in (x, x[:1]):
        VAE(6, 2, likelihood="gaussian_fixed", scale=0.5, hidden=(3,)).initialize({"x": rows}, 0)


def test_categorical_reads_codes():
    model = VAE(5, 2, likelihood="categorical", num_categories=4, hidden=(3,)).double()
    x = model.generate(6, seed=0)["x"]
    assert x.dtype == torch.int64
    guide, replayed = traces(model, x)
    expected = Categorical(logits=model.decoder(guide["z"]["value"])).log_prob(x).sum(-1)
    torch.testing.assert_close(replayed["x"]["log_prob"], expected)
    assert model.decode(torch.zeros(6, 2).double()).shape == (6, 5, 4)
    model.initialize({"x": x}, 0)
    counts = (x.unsqueeze(-1) == torch.arange(4)).sum(0)
    torch.testing.assert_close(model.decoder.output.bias.exp().view(5, 4), (counts + 0.25) / 7.0, check_dtype=False)


def test_grey_values_need_an_explicit_choice():
    grey = torch.rand(5, 4)
    with pytest.raises(ValueError, match="`x` must be 0 or 1 for a Bernoulli likelihood"):
        VAE(4, 2).check_data(grey)
    model = VAE(4, 2, likelihood="bernoulli_grey")
    model.check_data(grey)
    assert torch.isfinite(traces(model, grey)[1]["x"]["log_prob"]).all()  # Pyro's own validation is on here
    with pytest.raises(ValueError, match=r"`x` must lie in \[0, 1\]"):
        model.check_data(grey + 1)


def test_a_likelihood_of_ones_own():
    likelihood = Gaussian((3,), scale=0.5, learn=False)
    model = VAE(3, 1, likelihood=likelihood, hidden=(2,))
    assert model.likelihood is likelihood
    assert likelihood(torch.zeros(2, 3)).base_dist.scale.unique().item() == 0.5
    with pytest.raises(ValueError, match=r"`likelihood` must have data_shape \(4,\)"):
        VAE(4, 1, likelihood=Bernoulli((3,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"likelihood": "bernouli"}, r"`likelihood` must be one of .* Did you mean 'bernoulli'\?"),
        ({"likelihood": "categorical"}, "`num_categories` must be given"),
        ({"activation": "tan"}, r"`activation` must be one of .* Did you mean 'tanh'\?"),
        ({"latent_dim": 0}, "must be positive, got 0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VAE(**{"data_shape": 4, "latent_dim": 2, **arguments})


@pytest.mark.parametrize(
    ("likelihood", "x", "message"),
    [
        ("bernoulli", torch.zeros(3, 5), r"`x` must have shape \(N, 4\), got \(3, 5\)"),
        ("gaussian", torch.zeros(3, 2, 2), r"`x` must have shape \(N, 4\)"),
        ("categorical", torch.full((3, 4), 3), "integer codes 0, ..., 2 for a categorical likelihood, got 3"),
    ],
)
def test_bad_data_are_refused(likelihood, x, message):
    with pytest.raises(ValueError, match=message):
        VAE(4, 2, likelihood=likelihood, num_categories=3).check_data(x)
