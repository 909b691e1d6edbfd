"""Data near a linear subspace, the model whose evidence and posterior are known exactly."""

from __future__ import annotations

__all__ = ["linear_gaussian"]

import torch

from ..dataset import Dataset
from .draw import Draw, check_positive


def linear_gaussian(
    num_data: int = 200,
    num_features: int = 5,
    num_latents: int = 2,
    *,
    noise_scale: float = 0.5,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """`z ~ Normal(0, I)`, `x ~ Normal(W z + mu, s^2 I)`; marginally `x ~ Normal(mu, W W' + s^2 I)`, s = `noise_scale`.

    Args:
        num_data: N.
        num_features: D.
        num_latents: L.
        noise_scale: standard deviation of the noise on every feature.
        seed: the same seed gives the same data.
        dtype: of the tensors; default `torch.get_default_dtype()`.

    Returns:
        `x` `(N, D)`; truth: `loadings` W `(D, L)`, `loc` mu `(D,)`, `scale` `(D,)`, `z` `(N, L)`.

    Reference: Tipping and Bishop, "Probabilistic principal component analysis", 1999,
    https://doi.org/10.1111/1467-9868.00196.

    Example:
        >>> from jensen.datasets import linear_gaussian
        >>> linear_gaussian(num_data=100).truth["loadings"].shape
        torch.Size([5, 2])
    """
    check_positive(num_data=num_data, num_features=num_features, num_latents=num_latents, noise_scale=noise_scale)
    draw = Draw(seed)
    loadings, loc = draw.normal(num_features, num_latents), draw.normal(num_features)
    z = draw.normal(num_data, num_latents)
    x = z @ loadings.T + loc + noise_scale * draw.normal(num_data, num_features)
    scale = torch.full((num_features,), noise_scale, dtype=torch.float64)
    truth = {"loadings": loadings, "loc": loc, "scale": scale, "z": z}
    return Dataset("linear_gaussian", {"x": x}, truth=truth).to(dtype=dtype or torch.get_default_dtype())
