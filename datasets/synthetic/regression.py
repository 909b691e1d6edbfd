"""Regressions with known weights: real, binary and count responses."""

from __future__ import annotations

__all__ = ["linear_regression", "logistic_regression", "poisson_regression"]

import torch
from torch import Tensor

from ..dataset import Dataset
from .draw import Draw, check_positive


def linear_regression(
    num_data: int = 200,
    num_features: int = 5,
    *,
    noise_scale: float = 1.0,
    weight_scale: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """`w ~ Normal(0, weight_scale^2)`, `x ~ Normal(0, I)`, `y ~ Normal(x w, noise_scale^2)`.

    Args:
        num_data: N.
        num_features: D.
        noise_scale: standard deviation of the response about its mean.
        weight_scale: standard deviation of the weights.
        seed: the same seed gives the same data.
        dtype: of the tensors; default `torch.get_default_dtype()`.

    Returns:
        `x` `(N, D)`, `y` `(N,)`; truth: `w` `(D,)`, `scale` `()`.
    """
    check_positive(noise_scale=noise_scale)
    draw, x, w = _inputs(num_data, num_features, weight_scale, seed)
    y = x @ w + noise_scale * draw.normal(num_data)
    truth = {"w": w, "scale": torch.tensor(noise_scale, dtype=torch.float64)}
    return _dataset("linear_regression", x, y, truth, dtype)


def logistic_regression(
    num_data: int = 500,
    num_features: int = 5,
    *,
    weight_scale: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """`w ~ Normal(0, weight_scale^2)`, `x ~ Normal(0, I)`, `y ~ Bernoulli(sigmoid(x w))`.

    Returns:
        `x` `(N, D)`, `y` `(N,)` in {0, 1}, floating point; truth: `w` `(D,)`. Arguments as for `linear_regression`.

    Example:
        >>> from jensen.datasets import logistic_regression
        >>> logistic_regression(num_data=1_000, num_features=3).truth["w"].shape
        torch.Size([3])
    """
    draw, x, w = _inputs(num_data, num_features, weight_scale, seed)
    return _dataset("logistic_regression", x, draw.bernoulli(torch.sigmoid(x @ w)), {"w": w}, dtype)


def poisson_regression(
    num_data: int = 500,
    num_features: int = 5,
    *,
    weight_scale: float = 0.3,
    log_rate: float = 1.0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """`w ~ Normal(0, weight_scale^2)`, `x ~ Normal(0, I)`, `y ~ Poisson(exp(log_rate + x w))`.

    Returns:
        `x` `(N, D)`, `y` `(N,)` counts in floating point; truth: `w` `(D,)`, `log_rate` `()`. Arguments as for
        `linear_regression`.
    """
    draw, x, w = _inputs(num_data, num_features, weight_scale, seed)
    truth = {"w": w, "log_rate": torch.tensor(log_rate, dtype=torch.float64)}
    return _dataset("poisson_regression", x, draw.poisson((log_rate + x @ w).exp()), truth, dtype)


def _inputs(num_data: int, num_features: int, weight_scale: float, seed: int) -> tuple[Draw, Tensor, Tensor]:
    check_positive(num_data=num_data, num_features=num_features, weight_scale=weight_scale)
    draw = Draw(seed)
    return draw, draw.normal(num_data, num_features), weight_scale * draw.normal(num_features)


def _dataset(name: str, x: Tensor, y: Tensor, truth: dict[str, Tensor], dtype: torch.dtype | None) -> Dataset:
    return Dataset(name, {"x": x, "y": y}, truth=truth).to(dtype=dtype or torch.get_default_dtype())
