"""Priors of Gaussian components: what a caller gives is checked, what is left open is taken from the data."""

from __future__ import annotations

__all__ = ["checked_prior", "clustered_posterior", "empirical_covariance"]

from typing import Any

import torch
from torch import Tensor

from ..common.column_spread import column_spread, or_one
from ..common.covariance import Covariance
from ..common.kmeans import kmeans
from ..common.precision import wide
from ..distributions.normal_wishart import NormalWishart

_ADVICE = "Drop or change columns, or give `prior_covariance`."


def checked_prior(name: str, value: Any, default: Tensor) -> Tensor:
    """A prior's tensor, in the shape of `default`, which stands in for None.

    Raises:
        ValueError: another shape, or a covariance that is not positive definite.
    """
    if value is None:
        return default
    found = torch.as_tensor(value, dtype=torch.get_default_dtype()).clone()
    if found.shape != default.shape:
        raise ValueError(
            f"`{name}` must have shape {tuple(default.shape)} for this `num_features` and `covariance`, got "
            f"{tuple(found.shape)}."
        )
    if not torch.isfinite(found).all():
        raise ValueError(f"`{name}` must be finite, got {found.tolist()}.")
    if name == "prior_covariance":
        matrix = found if found.dim() == 2 else torch.diag(found.reshape(-1))
        if not torch.allclose(matrix, matrix.mT) or torch.linalg.cholesky_ex(matrix).info != 0:
            raise ValueError(f"`{name}` must be symmetric and positive definite, got {found.tolist()}.")
    return found


def empirical_covariance(x: Tensor, covariance: str, times: Tensor) -> Tensor:
    """The covariance of the data ``(N, D)``: ``(D, D)``, its diagonal ``(D,)``, or their mean ``()`` (spherical).

    Each row counts as often as `times` ``(N,)`` says.

    Raises:
        ValueError: it is not positive definite.
    """
    eps, x, times = torch.finfo(x.dtype).eps, wide(x), wide(times)
    total = times.sum()
    centred = x - times @ x / total
    total = torch.maximum(total - 1, total / 2)  # the latter for weights whose sum is no number of rows
    variance = times @ centred.square() / total
    if covariance == "spherical":
        if not variance.mean() > 0:
            raise ValueError(f"`x` is the same in all rows, which sets no scale for the prior. {_ADVICE}")
        return variance.mean()
    floor = (10 * eps) ** 2 * x.square().mean(0)  # what rounding leaves of a constant
    if constant := (variance <= floor).nonzero()[:, 0].tolist():
        raise ValueError(f"`x` is constant in column {constant[0]}, which sets no scale for the prior. {_ADVICE}")
    if covariance == "diagonal":
        return variance
    centred = centred / variance.sqrt()
    correlation = (centred * times.unsqueeze(-1)).mT @ centred / total
    if torch.linalg.eigvalsh(correlation)[0] < 100 * eps:
        raise ValueError(
            f"`x` has a singular covariance: with {len(x)} rows, or columns that are linear functions of others, it "
            f'sets no prior. {_ADVICE} Or build the model with covariance="diagonal".'
        )
    return correlation * variance.sqrt() * variance.sqrt()[:, None]


@torch.no_grad()
def clustered_posterior(prior: NormalWishart, x: Tensor, seed: int) -> tuple[Tensor, NormalWishart]:
    """Rows of the data ``(N, D)`` in each cluster by k-means, ``(C,)``, and the posterior of means and precisions if
    they were its component's. Components without data are left at the prior."""
    kind, count = Covariance(prior.covariance, *prior.means.shape), len(prior.means)
    unit = or_one(kind.unit(column_spread(x)))
    centres, used, cluster = kmeans(x, min(count, len(x)), seed, unit=unit)
    centres, used = centres.to(x.dtype), used.to(x.dtype)
    centres = torch.cat([centres, prior.means[len(centres) :]])
    rows = torch.bincount(cluster, minlength=count).to(x.dtype)
    residual = used - centres[cluster]
    first = torch.zeros_like(centres).index_add_(0, cluster, residual) / rows.clamp_min(1)[:, None]
    spread = kind.scatter(residual - first[cluster], cluster)
    times = len(x) / len(used)
    return times * rows, prior.posterior(times * rows, centres + first, times * spread)
