"""Convolutional networks of the autoencoder: sized from an image shape, exact at its sides, trained when traced."""

from __future__ import annotations

import pytest
import torch

from jensen.inference import SVI, TraceMeanField_ELBO, log_evidence
from jensen.models import VAE, InpaintingVAE, PartialConvolutionalEncoder
from jensen.models.autoencoders.parts.networks import ConvolutionalDecoder, ConvolutionalEncoder


@pytest.mark.parametrize("shape", [(28, 28), (1, 7, 9), (3, 8, 5), (5, 6)])
def test_shapes_at_both_ends(shape):
    encoder, decoder = ConvolutionalEncoder(shape, 4, (3, 5)), ConvolutionalDecoder(4, shape, (5, 3))
    loc, scale = encoder(torch.zeros(2, *shape))
    assert loc.shape == scale.shape == (2, 4)
    assert (scale > 0).all()
    assert decoder(torch.zeros(6, 2, 4)).shape == (6, 2, *shape)


def test_a_traced_fit_starts_at_the_marginals_and_gains():
    torch.manual_seed(0)
    shape = (8, 8)
    x = torch.zeros(100, *shape)
    x[:50, :, :4] = 1.0
    x[50:, :, 4:] = 1.0
    model = VAE(shape, 2, ConvolutionalEncoder(shape, 2, (4, 8)), ConvolutionalDecoder(2, shape, (8, 4)))
    model.initialize({"x": x}, seed=0)
    torch.testing.assert_close(model.decoder.bias.detach(), model.likelihood.output_bias(x))
    fit = SVI(TraceMeanField_ELBO(), steps=300, lr=1e-2, compile="trace").fit(model, {"x": x}, seed=0)
    value = log_evidence(fit, {"x": x}, seed=0, num_particles=100).value
    assert -100 * 64 * 0.6931 * 0.5 < value < 0.0


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6)])
def test_the_categories_of_an_image_are_channels_inside(shape):
    torch.manual_seed(0)
    categories, planes = 4, 1 if len(shape) == 2 else shape[0]
    encoder = ConvolutionalEncoder(shape, 3, (7,), num_categories=categories)
    decoder = ConvolutionalDecoder(3, shape, (7,), num_categories=categories)
    x = torch.randn(2, *shape, categories)
    by_hand = torch.zeros(2, planes * categories, *shape[-2:])
    for plane in range(planes):
        for category in range(categories):
            one = x if planes == 1 else x[:, plane]
            by_hand[:, plane * categories + category] = one[..., category]
    loc, log_scale = encoder.output(encoder.body(by_hand).flatten(1)).chunk(2, -1)
    torch.testing.assert_close(encoder(x), (loc, log_scale.exp()))
    z = torch.randn(2, 3)
    bias = torch.randn(*shape, categories)
    with torch.no_grad():
        decoder.set_output_bias(bias)
    image, body = decoder(z), decoder.body(decoder.input(z).reshape(-1, *decoder.start))
    assert image.shape == (2, *shape, categories)
    for plane in range(planes):
        for category in range(categories):
            one, its_bias = (image, bias) if planes == 1 else (image[:, plane], bias[plane])
            expected = body[:, plane * categories + category] + its_bias[..., category]
            torch.testing.assert_close(one[..., category], expected)
    assert decoder(torch.zeros(6, 2, 3)).shape == (6, 2, *shape, categories)


def test_an_image_of_codes_is_fitted_and_scored(float64):
    torch.manual_seed(0)
    kinds, rows = torch.randint(0, 4, (2, 6, 6)), torch.randint(0, 2, (80,))
    x = torch.where(torch.rand(80, 6, 6) < 0.1, torch.randint(0, 4, (80, 6, 6)), kinds[rows])
    encoder = ConvolutionalEncoder((6, 6), 1, (4,), num_categories=4)
    decoder = ConvolutionalDecoder(1, (6, 6), (4,), num_categories=4)
    model = VAE((6, 6), 1, encoder, decoder, likelihood="categorical", num_categories=4)
    fit = SVI(TraceMeanField_ELBO(), steps=300, lr=1e-2, compile="trace", progress=False).fit(model, x, seed=0)
    one_hot = (x[..., None] == torch.arange(4)).double()
    independent = torch.special.xlogy(one_hot.sum(0), one_hot.mean(0)).sum()
    assert log_evidence(fit, x, num_particles=100).value > float(independent) + 100  # it found the two kinds
    grid = torch.linspace(-9.0, 9.0, 4_001)
    with torch.no_grad():
        output = fit.model.decoder(grid[:, None]).log_softmax(-1)
    joint = torch.distributions.Normal(0.0, 1.0).log_prob(grid)
    for row in range(6):
        for column in range(6):
            joint = joint + output[:, row, column, x[0, row, column]]
    exact = float(torch.logsumexp(joint, 0) + (grid[1] - grid[0]).log())
    found = log_evidence(fit, x[:1], num_particles=20_000, seed=1)
    assert abs(found.value - exact) < 5 * found.stderr + 1e-6


@pytest.mark.parametrize("given", [{"image_shape": (8, 8)}, {"image_shape": (8, 8, 4)}, {"image_shape": (4, 8, 8)}])
def test_networks_of_another_image_are_refused(given):
    wanted = r"of latent_dim=2, image_shape=\(8, 8\), num_categories=4 for this model and likelihood, got latent_dim=2"
    options = {"likelihood": "categorical", "num_categories": 4}
    with pytest.raises(ValueError, match="`encoder` must be a `ConvolutionalEncoder` " + wanted):
        VAE((8, 8), 2, encoder=ConvolutionalEncoder(latent_dim=2, **given), **options)
    with pytest.raises(ValueError, match="`decoder` must be a `ConvolutionalDecoder` " + wanted):
        VAE((8, 8), 2, decoder=ConvolutionalDecoder(2, **given), **options)
    for model in (VAE, InpaintingVAE):
        with pytest.raises(ValueError, match=r"`decoder` must .* image_shape=\(8, 8\), num_categories=None for .* got"):
            model((8, 8), 2, decoder=ConvolutionalDecoder(2, (1, 8, 8)))
        with pytest.raises(ValueError, match=r"`decoder` must be .* latent_dim=2, .* got latent_dim=3"):
            model((8, 8), 2, decoder=ConvolutionalDecoder(3, (8, 8)))


def test_bad_shapes():
    for build in (ConvolutionalEncoder, PartialConvolutionalEncoder):
        with pytest.raises(ValueError, match="`channels` must hold at least one number of channels"):
            build((8, 8), 2, channels=())
        with pytest.raises(ValueError, match=r"`channels` must be a sequence of sizes, .* got 8\. Write \(8,\)\."):
            build((8, 8), 2, channels=8)
    with pytest.raises(ValueError, match="`channels` must hold at least one number of channels"):
        ConvolutionalDecoder(2, (8, 8), channels=())
    with pytest.raises(ValueError, match="`image_shape` must be"):
        ConvolutionalEncoder((64,), 2)
    with pytest.raises(ValueError, match="sides of at least 4"):
        ConvolutionalDecoder(2, (3, 28))
    model = VAE((8, 8), 2, ConvolutionalEncoder((8, 8), 2), ConvolutionalDecoder(2, (8, 8)))
    with pytest.raises(ValueError, match=r"`x` must have shape \(N, 8, 8\)"):
        model.check_data(torch.zeros(3, 64))
