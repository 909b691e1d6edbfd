"""Pictures of an autoencoder: the images drawn are those that the model decodes, in the right places."""

from __future__ import annotations

import numpy
import pytest
import torch

from jensen.inference.errors import ConfigurationError
from jensen.models import VAE, HierarchicalVAE
from jensen.studies import vae_pictures


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VAE(12, 2, hidden=(8,))


@pytest.fixture
def x(model):
    return model.generate(5, seed=0)["x"]


def images(picture):
    """The arrays shown, row by row."""
    return [numpy.asarray(axes.images[0].get_array()) for axes in picture.axes if axes.images]


def test_reconstructions_of_several_models(model, x):
    shown = images(vae_pictures.reconstructions({"one": model, "two": model}, x, (3, 4)))
    assert len(shown) == 15
    numpy.testing.assert_allclose(shown[1], x[1].reshape(3, 4))
    numpy.testing.assert_allclose(shown[6], model.reconstruct(x).detach()[1].reshape(3, 4), rtol=1e-5)


def test_uncertainty_is_the_spread_of_decoded_draws(model, x):
    state = torch.random.get_rng_state()
    picture = vae_pictures.uncertain_reconstructions(model, x, 50, (3, 4), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(3)
    draws = model.reconstruct(x, num=50).detach()
    shown = images(picture)
    numpy.testing.assert_allclose(shown[12], draws.mean(0)[2].reshape(3, 4), rtol=1e-4)
    numpy.testing.assert_allclose(shown[17], 2 * draws.std(0)[2].reshape(3, 4), rtol=1e-3, atol=1e-6)


def test_samples_also_of_two_layers(model):
    assert len(images(vae_pictures.samples(model, 7, (3, 4)))) == 7
    deep = HierarchicalVAE(16, (4, 2), hidden=(8,), upper_hidden=(5,))
    assert images(vae_pictures.samples(deep, 3))[0].shape == (4, 4)


def test_a_traversal_moves_one_dimension(model, x):
    shown = images(vae_pictures.latent_traversal(model, x, dims=[1], reach=2.0, steps=5, shape=(3, 4)))
    code = model.embed(x[:1]).detach()
    code[0, 1] = -2.0
    numpy.testing.assert_allclose(shown[0], model.decode(code).detach().reshape(3, 4), rtol=1e-5)
    assert len(shown) == 5
    assert len(images(vae_pictures.latent_traversal(model, x, shape=(3, 4)))) == 22
    with pytest.raises(ConfigurationError, match="`dims`: expected numbers from 0 to 1, got 2"):
        vae_pictures.latent_traversal(model, x, dims=[2], shape=(3, 4))


def test_an_interpolation_starts_and_ends_at_the_reconstructions(model, x):
    shown = images(vae_pictures.interpolation(model, x[:2], x[2:4], steps=4, shape=(3, 4)))
    ends = model.reconstruct(x).detach()
    numpy.testing.assert_allclose(shown[1], ends[0].reshape(3, 4), rtol=1e-5)
    numpy.testing.assert_allclose(shown[10], ends[3].reshape(3, 4), rtol=1e-5)
    numpy.testing.assert_allclose(shown[11], x[3].reshape(3, 4))
    with pytest.raises(ConfigurationError, match=r"`end`: expected the shape of `start`, \(2, 12\), got \(3, 12\)"):
        vae_pictures.interpolation(model, x[:2], x[:3], shape=(3, 4))


def test_the_manifold_lies_on_normal_quantiles(model):
    (mosaic,) = images(vae_pictures.manifold(model, size=3, shape=(3, 4)))
    assert mosaic.shape == (11, 14)
    low, high = torch.special.ndtri(torch.tensor([1 / 6, 5 / 6]))
    left_top = model.decode(torch.stack([low, high])[None]).detach()
    numpy.testing.assert_allclose(mosaic[:3, :4], left_top.reshape(3, 4), rtol=1e-4)
    with pytest.raises(ConfigurationError, match="expected a latent of two dimensions, got 3"):
        vae_pictures.manifold(VAE(4, 3, hidden=(4,)))


def test_a_map_has_a_point_for_each_datum(model, x):
    picture = vae_pictures.latent_map(model, x, torch.tensor([0, 1, 0, 1, 1]))
    assert sum(len(points.get_offsets()) for points in picture.axes[0].collections) == 5


def test_images_that_are_not_square_need_their_shape(model, x):
    with pytest.raises(ConfigurationError, match=r"`shape`: expected \(height, width\) of 12 pixels, got \(3, 3\)"):
        vae_pictures.reconstructions(model, x)


@pytest.mark.parametrize("posterior", ["planar", "spline"])
def test_flow_posteriors_are_drawn_as_well(posterior):
    model = VAE((1, 4, 4), 2, hidden=(8,), posterior=posterior)
    x = model.generate(3, seed=0)["x"]
    for picture in (
        vae_pictures.reconstructions(model, x),
        vae_pictures.uncertain_reconstructions(model, x, 5),
        vae_pictures.latent_traversal(model, x),
        vae_pictures.interpolation(model, x[:1], x[1:2]),
    ):
        assert images(picture)[0].shape == (4, 4)
