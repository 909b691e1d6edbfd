"""Means, standard deviations and quantiles of a posterior, with their errors: exact, or read from a file."""

from __future__ import annotations

__all__ = [
    "PROBABILITIES",
    "Moments",
    "mixture_moments",
    "node_moments",
    "normal_moments",
    "prior_nodes",
    "read_moments",
]

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the quantiles."""

_HALVINGS = 100


@dataclass(frozen=True, repr=False, eq=False)
class Moments:
    """The marginal moments of one latent, float64 on the CPU; an error of 0 says that the value is exact.

    Args:
        mean: ``(*shape)``, in the units of the latent, like all others.
        sd: standard deviation, ``(*shape)``.
        quantiles: at `PROBABILITIES`, ``(5, *shape)``.
        mean_stderr, sd_stderr, quantiles_stderr: Monte Carlo standard errors, of the same shapes; zeros if None.

    Raises:
        ValueError: shapes that do not agree, or an sd or error below 0.
    """

    mean: Tensor
    sd: Tensor
    quantiles: Tensor
    mean_stderr: Tensor = None  # type: ignore[assignment]
    sd_stderr: Tensor = None  # type: ignore[assignment]
    quantiles_stderr: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("mean", "sd", "quantiles"):
            value = torch.as_tensor(getattr(self, name), dtype=torch.float64, device="cpu")
            error = getattr(self, f"{name}_stderr")
            error = torch.zeros_like(value) if error is None else torch.as_tensor(error, dtype=torch.float64)
            object.__setattr__(self, name, value)
            object.__setattr__(self, f"{name}_stderr", error)
        shape = self.mean.shape
        for field in fields(self):
            value = getattr(self, field.name)
            expected = (len(PROBABILITIES), *shape) if "quantiles" in field.name else tuple(shape)
            if tuple(value.shape) != expected:
                raise ValueError(f"`{field.name}`: expected the shape {expected}, got {tuple(value.shape)}")
            if ("sd" in field.name or "stderr" in field.name) and not bool((value >= 0).all()):
                raise ValueError(f"`{field.name}`: expected numbers of 0 or more, got {float(value.min())}")

    @property
    def exact(self) -> bool:
        """Whether no value has a Monte Carlo error."""
        return not any(bool(getattr(self, f"{name}_stderr").any()) for name in ("mean", "sd", "quantiles"))

    def to_dict(self) -> dict[str, Any]:
        """Lists of numbers, ready for JSON."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    def __repr__(self) -> str:
        kind = "exact" if self.exact else f"errors of the means at most {float(self.mean_stderr.max()):.1g}"
        if self.mean.ndim:
            return f"Moments({tuple(self.mean.shape)}, {kind})"
        return f"Moments(mean {float(self.mean):.4g}, sd {float(self.sd):.4g}, {kind})"


def normal_moments(mean: Tensor, sd: Tensor) -> Moments:
    """Of a normal, ``(*shape)``."""
    mean, sd = torch.as_tensor(mean).double(), torch.as_tensor(sd).double()
    z = math.sqrt(2.0) * torch.erfinv(2.0 * torch.tensor(PROBABILITIES, dtype=torch.float64) - 1.0)
    return Moments(mean, sd, mean + sd * z.reshape(-1, *[1] * mean.ndim))


def mixture_moments(weights: Tensor, means: Tensor, sds: Tensor) -> Moments:
    r"""Of :math:`\sum_k w_k \mathcal N(m_k, s_k^2)`, number by number; quantiles by bisection of its CDF.

    Args:
        weights: ``(K,)``, which sum to 1.
        means, sds: ``(K, *shape)``.
    """
    w = weights.reshape(-1, *[1] * (means.ndim - 1))
    mean = (w * means).sum(0)
    sd = (w * (sds.square() + (means - mean).square())).sum(0).sqrt()
    quantiles = []
    for p in PROBABILITIES:
        low, high = (means - 40.0 * sds).amin(0), (means + 40.0 * sds).amax(0)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            below = (w * torch.special.ndtr((middle - means) / sds)).sum(0) < p
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        quantiles.append(0.5 * (low + high))
    return Moments(mean, sd, torch.stack(quantiles))


def node_moments(weights: Tensor, quantile: Callable[[Tensor], Tensor]) -> Moments:
    """Of one number whose posterior is known at the nodes of its prior's probability.

    Args:
        weights: ``(K,)`` posterior weights of :func:`prior_nodes`, which sum to 1.
        quantile: the prior's quantile function.
    """
    u, _ = prior_nodes(len(weights))
    values = quantile(u)
    mean = weights @ values
    # the posterior density of u as a series of Legendre polynomials, and its integral
    k = np.arange(len(u))
    table = legendre.legvander(2.0 * u.numpy() - 1.0, len(u) - 1)
    series = legendre.legint((k + 0.5) * (table.T @ weights.numpy()), lbnd=-1)
    found = []
    for p in PROBABILITIES:
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if legendre.legval(2.0 * middle - 1.0, series) < p else (low, middle)
        found.append(0.5 * (low + high))
    quantiles = quantile(torch.tensor(found, dtype=torch.float64))
    return Moments(mean, (weights @ (values - mean).square()).sqrt(), quantiles)


def prior_nodes(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights ``(K,)`` of Gauss and Legendre on the probabilities (0, 1) of a prior."""
    x, w = legendre.leggauss(count)
    return torch.from_numpy(0.5 * (x + 1.0)), torch.from_numpy(0.5 * w)


def read_moments(name: str) -> tuple[dict[str, Moments], Mapping[str, Any]]:
    """The moments by latent in the file ``<name>.json`` beside this one, and what it says of how they were made."""
    text = files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    content = json.loads(text)
    return {site: Moments(**values) for site, values in content["moments"].items()}, content["made"]
