"""Gaussian components of unknown means and precisions: the conjugate family, its updates and expectations."""

from __future__ import annotations

__all__ = ["NormalWishart", "gaussian", "outer"]

import math
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import kl_divergence

from ..common.covariance import Covariance
from ..common.linalg import checked_cholesky, inverse_triangular
from .wishart import PrecisionNormal, WishartCholesky

_MARGIN = 30.0  # units of rounding: the least that other columns must leave of one


def gaussian(covariance: str, means: Tensor, precision: Tensor) -> TorchDistributionMixin:
    """The components' densities, batch shape ``(…, C)``.

    Args:
        covariance: ``"full"``, ``"tied"``, ``"diagonal"`` or ``"spherical"``.
        means: ``(…, C, D)``.
        precision: Cholesky factors ``(…, C, D, D)`` (full) or ``(…, D, D)`` (tied), or precisions ``(…, C, D)``
            (diagonal) or ``(…, C)`` (spherical).
    """
    if covariance in ("full", "tied"):
        return PrecisionNormal(means, precision if covariance == "full" else precision.unsqueeze(-3))
    precision = precision if covariance == "diagonal" else precision.unsqueeze(-1)
    return dist.Normal(means, precision.rsqrt()).to_event(1)


@dataclass(frozen=True)
class NormalWishart:
    r"""C means and their precisions, a priori or a posteriori.

    .. math::
        \Lambda_k \sim \mathcal W(\nu_k, S_k^{-1}), \qquad
        \mu_k \mid \Lambda_k \sim \mathcal N(m_k, (\beta_k \Lambda_k)^{-1}).

    Tied components share one :math:`\Lambda`. Precisions of single coordinates are
    :math:`\lambda \sim \mathrm{Gamma}(P \nu / 2, P s / 2)`, with P = 1 coordinate to each (diagonal) or P = D
    (spherical), so that :math:`\mathbb E \Lambda = \nu S^{-1}` in every case.

    Args:
        covariance: as in :func:`gaussian`.
        mean_precision: :math:`\beta`, ``(C,)``.
        means: m, ``(C, D)``.
        degrees: :math:`\nu`, ``(C,)``; ``()`` if tied.
        scatter: S, ``(C, D, D)``, ``(D, D)``, ``(C, D)`` or ``(C,)``, in squared units of the data.

    Reference: C. Bishop, *Pattern Recognition and Machine Learning*, 2006, section 10.2.
    """

    covariance: str
    mean_precision: Tensor
    means: Tensor
    degrees: Tensor
    scatter: Tensor

    @property
    def _kind(self) -> Covariance:
        return Covariance(self.covariance, *self.means.shape)

    @property
    def precision_site(self) -> str:
        """The name of the precisions' site."""
        return "precision_tril" if self._kind.is_matrix else "precision"

    def precision_distribution(self) -> Any:
        """The distribution of the precisions (of their Cholesky factors, for matrices) as one event."""
        law = self._each_precision()
        return law.to_event(len(law.batch_shape))

    def means_distribution(self, precision: Tensor) -> Any:
        """The distribution of the means ``(C, D)`` given such precisions."""
        beta = self.mean_precision
        if self.covariance == "full":
            return PrecisionNormal(self.means, beta.sqrt()[:, None, None] * precision).to_event(1)
        if self.covariance == "tied":
            return PrecisionNormal(self.means, beta.sqrt()[:, None, None] * precision.unsqueeze(-3)).to_event(1)
        beta = beta[:, None] if self.covariance == "diagonal" else beta
        return gaussian(self.covariance, self.means, beta * precision).to_event(1)

    def scale(self) -> Tensor:
        r"""The root of :math:`S_k / \nu_k`, the inverse of the expected precision: ``(C, D, D)`` or ``(C, D)``."""
        if self._kind.is_matrix:
            root = torch.linalg.cholesky(self.scatter) / self.degrees.sqrt()[..., None, None]
        else:
            root = (self.scatter / (self.degrees[:, None] if self.covariance == "diagonal" else self.degrees)).sqrt()
        return self._kind.scales(root)

    def scale_of_means(self) -> Tensor:
        r"""The roots of the diagonal of :math:`S_k / \nu_k`, ``(C, D)``, for torch's affine Jacobian not expanded."""
        if not self._kind.is_matrix:
            return self.scale().clone()
        variance = self.scatter.diagonal(dim1=-2, dim2=-1) / self.degrees.unsqueeze(-1)
        return variance.sqrt().expand_as(self.means).clone()

    def expected_precision(self) -> Tensor:
        r""":math:`\nu S^{-1}` in the shape of the precision site (for matrices its Cholesky factor)."""
        if self._kind.is_matrix:
            return self.degrees.sqrt()[..., None, None] * _root_of_inverse(self.scatter)
        return (self.degrees[:, None] if self.covariance == "diagonal" else self.degrees) / self.scatter

    def expected_log_det(self) -> Tensor:
        r""":math:`\mathbb E \log |\Lambda_k|`, ``(C,)``, or ``()`` if tied."""
        law = self._each_precision()
        if isinstance(law, WishartCholesky):
            return law.expected_log_det
        each = law.concentration.digamma() - law.rate.log()
        return each.sum(-1) if self.covariance == "diagonal" else self.means.shape[1] * each

    def posterior(self, rows: Tensor, averages: Tensor, spread: Tensor) -> NormalWishart:
        r"""The posterior, self being the prior.

        Args:
            rows: :math:`N_k`, ``(C,)``.
            averages: :math:`\bar x_k`, ``(C, D)``.
            spread: :math:`\sum_n r_{nk} (x_n - \bar x_k)(x_n - \bar x_k)^\top`, ``(C, D, D)``, or its diagonal
                ``(C, D)``.

        Raises:
            ValueError: a scatter is singular in its dtype.
        """
        beta = self.mean_precision + rows
        means = (self.mean_precision[:, None] * self.means + rows[:, None] * averages) / beta[:, None]
        shrink = self.mean_precision * rows / beta
        scatter = self.scatter + self._kind.pooled(spread + outer(averages - self.means, shrink, spread.dim()))
        if self._kind.is_matrix:
            trouble = "`prior_covariance` is lost beside a component's data, which are linear functions of each other,"
            checked_cholesky(scatter, trouble, "or give a larger `prior_covariance`", margin=_MARGIN)
        total = rows.sum() if self.covariance == "tied" else rows
        return NormalWishart(self.covariance, beta, means, self.degrees + total, scatter)

    def interpolate(self, other: NormalWishart, rate: float) -> NormalWishart:
        r"""The member whose natural parameters are :math:`(1 - \rho)` times these plus :math:`\rho` times `other`'s."""
        old, new = (1 - rate) * self.mean_precision, rate * other.mean_precision
        beta = old + new
        means = (old[:, None] * self.means + new[:, None] * other.means) / beta[:, None]
        dims = 3 if self._kind.is_matrix else 2
        between = self._kind.pooled(outer(self.means - other.means, old * new / beta, dims))
        scatter = (1 - rate) * self.scatter + rate * other.scatter + between
        degrees = (1 - rate) * self.degrees + rate * other.degrees
        return NormalWishart(self.covariance, beta, means, degrees, scatter)

    def divergence(self, prior: NormalWishart) -> Tensor:
        """The KL divergence from `prior` of all means and precisions, ``()``."""
        precisions = kl_divergence(self._each_precision(), prior._each_precision()).sum()
        ratio = prior.mean_precision / self.mean_precision
        gap = outer(self.means - prior.means, prior.mean_precision, self.scale().dim())
        spread = self.means.shape[1] * (ratio - 1 - ratio.log())
        return precisions + 0.5 * (spread.sum() + self.quadratic(gap).sum())

    def quadratic(self, spread: Tensor) -> Tensor:
        r""":math:`\operatorname{tr}(\mathbb E[\Lambda_k] M_k)`, ``(C,)``, for M as `spread` in :meth:`posterior`."""
        scale = self.scale()
        if scale.dim() == 2:
            return (spread / scale.square()).sum(-1)
        return torch.cholesky_solve(spread, scale).diagonal(dim1=-2, dim2=-1).sum(-1)

    def log_predictive(self, x: Tensor) -> Tensor:
        r"""Student's t of new data given their component, ``(n, C)``, in nats: the parameters are integrated out."""
        size, beta, scale = self.means.shape[1], self.mean_precision, self.scale()
        gap = x.unsqueeze(-2) - self.means
        if scale.dim() == 3:
            together, degrees = size, self.degrees + 1 - size
            squares = torch.einsum("nkd,ked->nke", gap, inverse_triangular(scale)).square().sum(-1)
            log_scale = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        elif self.covariance == "spherical":
            together, degrees = size, self.degrees * size
            squares, log_scale = (gap / scale).square().sum(-1), scale.log().sum(-1)
        else:
            together, degrees, beta = 1, self.degrees[:, None], beta[:, None]
            squares, log_scale = (gap / scale).square(), scale.log()
        # the t's squared scale is (1 + 1 / beta) S / degrees, and `scale` is the root of S / nu
        given = self.degrees[:, None] if together == 1 else self.degrees
        stretch = (1 + 1 / beta) * (1.0 if scale.dim() == 2 else given / degrees)
        quadratic = squares / (stretch * degrees)
        found = (0.5 * (degrees + together)).lgamma() - (0.5 * degrees).lgamma() - log_scale
        found = found - 0.5 * together * (math.pi * degrees * stretch).log()
        found = found - 0.5 * (degrees + together) * quadratic.log1p()
        return found.sum(-1) if self.covariance == "diagonal" else found

    def _each_precision(self) -> Any:
        if self._kind.is_matrix:
            return WishartCholesky(self.degrees, _root_of_inverse(self.scatter))
        if self.covariance == "diagonal":
            return dist.Gamma((0.5 * self.degrees[:, None]).expand_as(self.scatter), 0.5 * self.scatter)
        half = 0.5 * self.means.shape[1]
        return dist.Gamma(half * self.degrees, half * self.scatter)


def outer(gap: Tensor, weight: Tensor, dims: int) -> Tensor:
    r""":math:`w_k g_k g_k^\top`, ``(C, D, D)``, or its diagonal ``(C, D)`` if `dims` is 2."""
    if dims == 2:
        return weight[:, None] * gap.square()
    return weight[:, None, None] * gap.unsqueeze(-1) * gap.unsqueeze(-2)


def _root_of_inverse(scatter: Tensor) -> Tensor:
    r"""The lower Cholesky factor of :math:`S^{-1}`: with :math:`S = U U^\top`, U upper triangular, it is
    :math:`U^{-\top}`, and no inverse has to be factorised again."""
    upper = torch.linalg.cholesky(scatter.flip(-1, -2)).flip(-1, -2)
    return inverse_triangular(upper, upper=True).mT
