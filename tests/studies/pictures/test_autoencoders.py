"""Pictures of an autoencoder: the images drawn are those that the model decodes, in the right places."""

from __future__ import annotations

import re

import numpy
import pytest
import torch

from jensen.inference.errors import ConfigurationError
from jensen.models import VAE, VQVAE, ConditionalVAE, GaussianMixture, HierarchicalVAE, InpaintingVAE
from jensen.studies.pictures import autoencoders


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
    shown = images(autoencoders.reconstructions({"one": model, "two": model}, x, (3, 4)))
    assert len(shown) == 15
    numpy.testing.assert_allclose(shown[1], x[1].reshape(3, 4))
    numpy.testing.assert_allclose(shown[6], model.reconstruct(x).detach()[1].reshape(3, 4), rtol=1e-5)


def test_uncertainty_is_the_spread_of_decoded_draws(model, x):
    state = torch.random.get_rng_state()
    picture = autoencoders.uncertain_reconstructions(model, x, 50, (3, 4), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(3)
    draws = model.reconstruct(x, num=50).detach()
    shown = images(picture)
    numpy.testing.assert_allclose(shown[12], draws.mean(0)[2].reshape(3, 4), rtol=1e-4)
    numpy.testing.assert_allclose(shown[17], 2 * draws.std(0)[2].reshape(3, 4), rtol=1e-3, atol=1e-6)


def test_samples_also_of_two_layers(model):
    assert len(images(autoencoders.samples(model, 7, (3, 4)))) == 7
    deep = HierarchicalVAE(16, (4, 2), hidden=(8,), upper_hidden=(5,))
    assert images(autoencoders.samples(deep, 3))[0].shape == (4, 4)


def test_a_traversal_moves_one_dimension(model, x):
    shown = images(autoencoders.latent_traversal(model, x, dims=[1], reach=2.0, steps=5, shape=(3, 4)))
    code = model.embed(x[:1]).detach()
    code[0, 1] = -2.0
    numpy.testing.assert_allclose(shown[0], model.decode(code).detach().reshape(3, 4), rtol=1e-5)
    assert len(shown) == 5
    assert len(images(autoencoders.latent_traversal(model, x, shape=(3, 4)))) == 22
    with pytest.raises(ConfigurationError, match="`dims`: expected numbers from 0 to 1, got 2"):
        autoencoders.latent_traversal(model, x, dims=[2], shape=(3, 4))


def test_an_interpolation_starts_and_ends_at_the_reconstructions(model, x):
    shown = images(autoencoders.interpolation(model, x[:2], x[2:4], steps=4, shape=(3, 4)))
    ends = model.reconstruct(x).detach()
    numpy.testing.assert_allclose(shown[1], ends[0].reshape(3, 4), rtol=1e-5)
    numpy.testing.assert_allclose(shown[10], ends[3].reshape(3, 4), rtol=1e-5)
    numpy.testing.assert_allclose(shown[11], x[3].reshape(3, 4))
    with pytest.raises(ConfigurationError, match=r"`end`: expected the shape of `start`, \(2, 12\), got \(3, 12\)"):
        autoencoders.interpolation(model, x[:2], x[:3], shape=(3, 4))


def test_the_manifold_lies_on_normal_quantiles(model):
    (mosaic,) = images(autoencoders.manifold(model, size=3, shape=(3, 4)))
    assert mosaic.shape == (11, 14)
    low, high = torch.special.ndtri(torch.tensor([1 / 6, 5 / 6]))
    left_top = model.decode(torch.stack([low, high])[None]).detach()
    numpy.testing.assert_allclose(mosaic[:3, :4], left_top.reshape(3, 4), rtol=1e-4)
    with pytest.raises(ConfigurationError, match="expected a latent of two dimensions, got 3"):
        autoencoders.manifold(VAE(4, 3, hidden=(4,)))


def test_a_map_has_a_point_for_each_datum(model, x):
    picture = autoencoders.latent_map(model, x, torch.tensor([0, 1, 0, 1, 1]))
    assert sum(len(points.get_offsets()) for points in picture.axes[0].collections) == 5


def test_images_that_are_not_square_need_their_shape(model, x):
    with pytest.raises(ConfigurationError, match=r"`shape`: expected \(height, width\), .* 12 numbers, got \(3, 3\)"):
        autoencoders.reconstructions(model, x)


@pytest.mark.parametrize("posterior", ["planar", "spline"])
def test_flow_posteriors_are_drawn_as_well(posterior):
    model = VAE((1, 4, 4), 2, hidden=(8,), posterior=posterior)
    x = model.generate(3, seed=0)["x"]
    for picture in (
        autoencoders.reconstructions(model, x),
        autoencoders.uncertain_reconstructions(model, x, 5),
        autoencoders.latent_traversal(model, x),
        autoencoders.interpolation(model, x[:1], x[1:2]),
    ):
        assert images(picture)[0].shape == (4, 4)


def every_picture(model, x):
    """All pictures of images but the map, each as a call without arguments."""
    return {
        "reconstructions": lambda: autoencoders.reconstructions(model, x),
        "uncertain": lambda: autoencoders.uncertain_reconstructions(model, x, 5),
        "samples": lambda: autoencoders.samples(model, 4),
        "traversal": lambda: autoencoders.latent_traversal(model, x),
        "interpolation": lambda: autoencoders.interpolation(model, x[:1], x[1:2]),
        "manifold": lambda: autoencoders.manifold(model, size=3),
    }


def test_two_layers_are_drawn_by_the_upper_one():
    torch.manual_seed(0)
    model = HierarchicalVAE(16, (4, 2), hidden=(8,), upper_hidden=(5,))
    x = model.generate(5, seed=0)["x"]
    shown = images(autoencoders.latent_traversal(model, x, dims=[1], reach=2.0, steps=3))
    point = model.upper_encoder(model.encode(x[:1])[0])[0].detach()
    point[0, 1] = -2.0
    decoded = model.decoder(model.lower_prior(point)[0]).sigmoid().detach()
    numpy.testing.assert_allclose(shown[0], decoded.reshape(4, 4), rtol=1e-5)
    for draw in every_picture(model, x).values():
        assert images(draw())
    assert autoencoders.latent_map(model, x, torch.tensor([0, 1, 0, 1, 1])).axes[0].get_xlabel().endswith("dimension")


def test_three_channels_are_colours():
    torch.manual_seed(0)
    model = VAE((3, 4, 5), 2, hidden=(8,), likelihood="bernoulli_grey")
    x = torch.rand(3, 3, 4, 5)
    for name, draw in every_picture(model, x).items():
        assert images(draw())[0].shape == ((14, 17, 3) if name == "manifold" else (4, 5, 3))
    shown = images(autoencoders.reconstructions(model, x))
    numpy.testing.assert_allclose(shown[1], x[1].permute(1, 2, 0))
    flat = VAE(60, 2, hidden=(8,), likelihood="bernoulli_grey")
    numpy.testing.assert_allclose(images(autoencoders.reconstructions(flat, x.flatten(1), (3, 4, 5)))[1], shown[1])
    (mosaic,) = images(autoencoders.manifold(model, size=3))
    low, high = torch.special.ndtri(torch.tensor([1 / 6, 5 / 6]))
    left_top = model.decode(torch.stack([low, high])[None])[0].detach()
    numpy.testing.assert_allclose(mosaic[:4, :5], left_top.permute(1, 2, 0), rtol=1e-4)
    assert (mosaic[4] == 1).all()  # white between the images
    torch.manual_seed(3)
    spread = model.reconstruct(x, num=50).detach().var(0).mean(1).sqrt()
    sd = images(autoencoders.uncertain_reconstructions(model, x, 50, seed=3))[9]
    numpy.testing.assert_allclose(sd, (1 - 2 * spread[0])[..., None].expand(4, 5, 3), rtol=1e-3)


def test_channels_that_are_no_colours_need_a_shape():
    model = VAE((2, 4, 4), 2, hidden=(8,))
    x = model.generate(2, seed=0)["x"]
    for draw in every_picture(model, x).values():
        with pytest.raises(ConfigurationError, match=r"got \(2, 4, 4\). Channels that are no colours are drawn under"):
            draw()
    assert images(autoencoders.reconstructions(model, x, (8, 4)))[0].shape == (8, 4)


def test_probabilities_of_categories_are_no_image():
    model = VAE((4, 4), 2, hidden=(8,), likelihood="categorical", num_categories=2)
    x = model.generate(2, seed=0)["x"]
    for draw in every_picture(model, x).values():
        with pytest.raises(ConfigurationError, match=r"data's shape \(4, 4\), got .*4, 4, 2\); a categorical"):
            draw()


def test_models_that_a_picture_is_not_made_for_are_refused_by_name():
    x = torch.ones(3, 4)
    codes = VQVAE(4, 3, 2, hidden=(5,))
    assert images(autoencoders.reconstructions(codes, x))[0].shape == (2, 2)
    assert images(autoencoders.samples(codes, 3))[0].shape == (2, 2)
    for model, refused in (
        (codes, {"uncertain": "reconstruct(x, num)", "traversal": "embed(x)", "interpolation": "embed(x)"}),
        (
            ConditionalVAE(4, 2, num_classes=2, hidden=(5,)),
            {"reconstructions": "reconstruct(x)", "manifold": "decode(z)"},
        ),
        (InpaintingVAE(4, 3, hidden=(5,)), {"uncertain": "reconstruct(x, num)", "traversal": "embed(x)"}),
        (GaussianMixture(2, 4), {"samples": "decode(z)", "reconstructions": "reconstruct(x)"}),
    ):
        for name, lacking in refused.items():
            message = f"`model`: expected one with `{lacking}` as `VAE` has it, got a `{type(model).__name__}`"
            with pytest.raises(ConfigurationError, match=re.escape(message)):
                every_picture(model, x)[name]()
    with pytest.raises(ConfigurationError, match="two dimensions, got a `VQVAE` without `latent_dim`"):
        autoencoders.manifold(codes)
