"""Clustered data: Gaussian clouds, Poisson counts, and counts of words."""

from __future__ import annotations

__all__ = ["gaussian_mixture", "multinomial_mixture", "poisson_mixture"]

import torch
from torch import Tensor

from ..dataset import Dataset
from .draw import Draw, check_positive


def gaussian_mixture(
    num_data: int = 500,
    num_features: int = 2,
    num_components: int = 3,
    *,
    separation: float = 4.0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """`c ~ Categorical(pi)`, `x ~ Normal(mu_c, diag(sigma_c^2))`.

    Weights are Dirichlet(5), centres Normal(0, separation^2), scales between 0.5 and 1.5.

    Args:
        num_data: N.
        num_features: D.
        num_components: C.
        separation: spread of the centres, in units of a typical scale (1); below about 2 the clouds overlap.
        seed: the same seed gives the same data.
        dtype: of the tensors; default `torch.get_default_dtype()`.

    Returns:
        `x` `(N, D)`; truth: `weights` `(C,)`, `locs` `(C, D)`, `scales` `(C, D)`, `assignment` `(N,)` int64.

    Example:
        >>> from jensen.datasets import gaussian_mixture
        >>> gaussian_mixture(num_components=4).truth["locs"].shape
        torch.Size([4, 2])
    """
    check_positive(num_data=num_data, num_features=num_features, num_components=num_components, separation=separation)
    draw = Draw(seed)
    weights, assignment = _assign(draw, num_data, num_components)
    locs = separation * draw.normal(num_components, num_features)
    scales = 0.5 + torch.sigmoid(draw.normal(num_components, num_features))
    x = locs[assignment] + scales[assignment] * draw.normal(num_data, num_features)
    truth = {"weights": weights, "locs": locs, "scales": scales, "assignment": assignment}
    return _dataset("gaussian_mixture", x, truth, dtype)


def poisson_mixture(
    num_data: int = 500,
    num_features: int = 2,
    num_components: int = 3,
    *,
    mean_rate: float = 10.0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """`c ~ Categorical(pi)`, `x_d ~ Poisson(rate_{c,d})` with log rates Normal(log mean_rate, 1).

    Returns:
        `x` `(N, D)` counts in floating point; truth: `weights` `(C,)`, `rates` `(C, D)`, `assignment` `(N,)` int64.
        Arguments as for `gaussian_mixture`.
    """
    check_positive(num_data=num_data, num_features=num_features, num_components=num_components, mean_rate=mean_rate)
    draw = Draw(seed)
    weights, assignment = _assign(draw, num_data, num_components)
    rates = mean_rate * draw.normal(num_components, num_features).exp()
    x = draw.poisson(rates[assignment])
    return _dataset("poisson_mixture", x, {"weights": weights, "rates": rates, "assignment": assignment}, dtype)


def multinomial_mixture(
    num_data: int = 500,
    num_features: int = 50,
    num_components: int = 3,
    *,
    total_count: int = 100,
    concentration: float = 0.2,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """`c ~ Categorical(pi)`, `x ~ Multinomial(total_count, p_c)` with `p_c ~ Dirichlet(concentration)` over V words.

    Returns:
        `x` `(N, V)` counts in floating point, each row summing to `total_count`; truth: `weights` `(C,)`, `probs`
        `(C, V)`, `assignment` `(N,)` int64. `num_features` is V; the other arguments are as for `gaussian_mixture`.
    """
    check_positive(num_data=num_data, num_features=num_features, num_components=num_components)
    check_positive(total_count=total_count, concentration=concentration)
    draw = Draw(seed)
    weights, assignment = _assign(draw, num_data, num_components)
    probs = draw.simplex(num_components, num_features, concentration)
    words = torch.multinomial(probs[assignment], total_count, replacement=True, generator=draw.generator)
    x = torch.zeros(num_data, num_features, dtype=torch.float64)
    x.scatter_add_(1, words, torch.ones_like(words, dtype=torch.float64))
    return _dataset("multinomial_mixture", x, {"weights": weights, "probs": probs, "assignment": assignment}, dtype)


def _assign(draw: Draw, num_data: int, num_components: int) -> tuple[Tensor, Tensor]:
    weights = draw.simplex(1, num_components, 5.0)[0]
    return weights, draw.categorical(weights, num_data)


def _dataset(name: str, x: Tensor, truth: dict[str, Tensor], dtype: torch.dtype | None) -> Dataset:
    return Dataset(name, {"x": x}, truth=truth).to(dtype=dtype or torch.get_default_dtype())
