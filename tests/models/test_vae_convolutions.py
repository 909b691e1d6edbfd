"""Convolutional networks of the autoencoder: sized from an image shape, exact at its sides, trained when traced."""

from __future__ import annotations

import pytest
import torch

from jensen.inference import SVI, TraceMeanField_ELBO, log_evidence
from jensen.models import VAE
from jensen.models.networks import ConvolutionalDecoder, ConvolutionalEncoder


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


def test_bad_shapes():
    with pytest.raises(ValueError, match="`image_shape` must be"):
        ConvolutionalEncoder((64,), 2)
    with pytest.raises(ValueError, match="sides of at least 4"):
        ConvolutionalDecoder(2, (3, 28))
    model = VAE((8, 8), 2, ConvolutionalEncoder((8, 8), 2), ConvolutionalDecoder(2, (8, 8)))
    with pytest.raises(ValueError, match=r"`x` must have shape \(N, 8, 8\)"):
        model.check_data(torch.zeros(3, 64))
