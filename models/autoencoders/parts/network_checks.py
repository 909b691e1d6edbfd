"""Checks that networks of one's own fit the model they are given to, by sizes alone: a traced step may make them."""

from __future__ import annotations

__all__ = ["check_image_network", "check_latent"]

from collections.abc import Sequence

from torch import Tensor, nn

from .likelihoods import Categorical, Likelihood
from .networks import ConvolutionalDecoder, ConvolutionalEncoder


def check_image_network(name: str, network: nn.Module, likelihood: Likelihood, latent_dim: int) -> None:
    """Raise unless a convolutional network is built for what the likelihood makes of the data; others pass."""
    if not isinstance(network, ConvolutionalEncoder | ConvolutionalDecoder):
        return
    shape = likelihood.feature_shape if isinstance(network, ConvolutionalEncoder) else likelihood.output_shape
    num_categories = None
    if isinstance(likelihood, Categorical):
        shape, num_categories = likelihood.data_shape, likelihood.num_categories
    expected = {"latent_dim": latent_dim, "image_shape": shape, "num_categories": num_categories}
    found = {key: getattr(network, key) for key in expected}
    if found != expected:
        asked, got = (", ".join(f"{key}={value!r}" for key, value in sizes.items()) for sizes in (expected, found))
        raise ValueError(
            f"`{name}` must be a `{type(network).__name__}` of {asked} for this model and likelihood, got {got}."
        )


def check_latent(name: str, outputs: Sequence[Tensor], latent_dim: int) -> None:
    """Raise unless a network's location and scale, the first of its outputs, are of the latent's size."""
    sizes = [output.shape[-1] for output in outputs[:2]]
    if sizes != [latent_dim, latent_dim]:
        raise ValueError(
            f"`{name}` must put out a location and a scale of size `latent_dim` = {latent_dim}, got sizes {sizes}. "
            "Build one of the two with the other's latent_dim."
        )
