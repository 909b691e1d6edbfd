"""Covariances of Gaussian components: what each kind is free to be, the parameter that holds it, and its estimate."""

from __future__ import annotations

__all__ = ["COVARIANCES", "Covariance", "floored", "from_scale", "precision_from_scale"]

from dataclasses import dataclass

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.ops.indexing import Vindex
from torch import Tensor
from torch.distributions import constraints

from .constraints import FlooredCholesky
from .floors import AboveFloor

COVARIANCES = ("full", "tied", "diagonal", "spherical")


@dataclass(frozen=True)
class Covariance:
    r"""The covariances :math:`\Sigma_k` of C components in D dimensions.

    =============  ==================================  =============================  =========
    kind           :math:`\Sigma_k`                    parameter                      floor
    =============  ==================================  =============================  =========
    ``full``       :math:`L_k L_k^\top`                ``scale_tril``, ``(C, D, D)``  ``(D,)``
    ``tied``       :math:`L L^\top`                    ``scale_tril``, ``(D, D)``     ``(D,)``
    ``diagonal``   :math:`\mathrm{diag}(\sigma_k^2)`   ``scale``, ``(C, D)``          ``(D,)``
    ``spherical``  :math:`\sigma_k^2 I`                ``scale``, ``(C,)``            ``()``
    =============  ==================================  =============================  =========

    Closed forms see the same *of each* component in two layouts only: matrices ``(C, D, D)`` for the first two kinds,
    and their diagonals ``(C, D)`` for the others.

    Args:
        kind: one of `COVARIANCES`.
        num_components: C.
        num_features: D.
    """

    kind: str
    num_components: int
    num_features: int

    @property
    def is_matrix(self) -> bool:
        """Whether features may be correlated, so that the parameter is a Cholesky factor."""
        return self.kind in ("full", "tied")

    @property
    def parameter(self) -> str:
        """The parameter's name."""
        return "scale_tril" if self.is_matrix else "scale"

    @property
    def shape(self) -> tuple[int, ...]:
        """The parameter's shape."""
        components, features = self.num_components, self.num_features
        shapes = {"full": (components, features, features), "tied": (features, features), "spherical": (components,)}
        return shapes.get(self.kind, (components, features))

    def constraint(self, owner: object) -> constraints.Constraint:
        """The parameter's constraint: standard deviations, or the factor's diagonal, above the owner's `floor`."""
        return FlooredCholesky(owner) if self.is_matrix else AboveFloor(owner)

    @property
    def num_free_parameters(self) -> int:
        """How many numbers may be chosen."""
        components, features = self.num_components, self.num_features
        triangle = features * (features + 1) // 2
        free = {"full": components * triangle, "tied": triangle, "diagonal": components * features}
        return free.get(self.kind, components)

    def unit(self, deviations: Tensor) -> Tensor:
        """Standard deviations of columns ``(D,)`` in the floor's shape: of all columns, if spherical."""
        return deviations.square().mean().sqrt() if self.kind == "spherical" else deviations

    def isotropic(self, deviation: float) -> Tensor:
        """The parameter of the same standard deviation in every direction."""
        if self.is_matrix:
            return (deviation * torch.eye(self.num_features)).repeat(*self.shape[:-2], 1, 1)
        return torch.full(self.shape, deviation)

    def scales(self, parameter: Tensor) -> Tensor:
        """Of each component: Cholesky factors ``(C, D, D)``, or standard deviations ``(C, D)``."""
        if self.is_matrix:
            return parameter.expand(self.num_components, -1, -1)
        return parameter.reshape(self.num_components, -1).expand(-1, self.num_features)

    def normal(self, c: Tensor, means: Tensor, parameter: Tensor) -> TorchDistributionMixin:
        """The normals of the components `c`, of any batch shape; means are ``(C, D)``."""
        means = Vindex(means)[c, :]
        if self.is_matrix:
            tril = Vindex(parameter)[c, :, :] if self.kind == "full" else parameter
            return dist.MultivariateNormal(means, scale_tril=tril)
        scale = Vindex(parameter)[c, :] if self.kind == "diagonal" else parameter[c].unsqueeze(-1)
        return dist.Normal(means, scale).to_event(1)

    def pooled(self, each: Tensor) -> Tensor:
        """What is summed of each component, in the parameter's shape: the sum of all if tied, the features' mean if
        spherical."""
        if self.kind == "tied":
            return each.sum(0)
        return each.mean(-1) if self.kind == "spherical" else each

    def scatter(self, residual: Tensor, cluster: Tensor) -> Tensor:
        """Of each component: the sum of :math:`r r^\\top` over the rows ``(N, D)`` of its cluster ``(N,)``."""
        if self.is_matrix:
            parts = [residual[cluster == k] for k in range(self.num_components)]
            return torch.stack([part.mT @ part for part in parts])
        empty = residual.new_zeros(self.num_components, self.num_features)
        return empty.index_add_(0, cluster, residual.square())

    def maximiser(self, weights: Tensor, means: Tensor, covariance: Tensor, floor: Tensor) -> Tensor:
        """The M step: the parameter of greatest expected likelihood above a floor.

        Args:
            weights: ``(C,)``; means: ``(C, D)``.
            covariance: of each component, were it free.
            floor: under every standard deviation.
        """
        if not self.is_matrix:
            return self.pooled(covariance).clamp_min(floor**2).sqrt()
        shared = weights[:, None, None] * covariance if self.kind == "tied" else covariance
        return floored(self.pooled(shared), floor, _total_variance(weights, means, covariance, floor))

    def clustered(self, residual: Tensor, cluster: Tensor, unit: Tensor, floor: Tensor) -> Tensor:
        """A start: the parameter of each cluster's covariance, drawn towards that of all residuals by D + 1 rows.

        Args:
            residual: deviations of rows from their centres, ``(N, D)``; cluster: of each row, ``(N,)``.
            unit: the columns' standard deviations, in the floor's shape.
            floor: under every standard deviation.
        """
        everyone = residual.square().mean(0).clamp_min(1e-2 * unit**2).clamp_min(floor**2)
        scatter, counts = self.scatter(residual, cluster), torch.bincount(cluster, minlength=self.num_components)
        if self.kind == "tied":
            scatter, counts = scatter.sum(0), counts.sum()
        rows = self.num_features + 1
        total = (counts + rows).to(residual.dtype)
        if self.is_matrix:
            return floored((scatter + rows * everyone.diag()) / total[..., None, None], floor)
        return self.pooled(((scatter + rows * everyone) / total[:, None]).clamp_min(floor**2)).sqrt()


def from_scale(scale: Tensor) -> Tensor:
    """Covariances ``(C, D, D)`` of Cholesky factors ``(C, D, D)`` or of standard deviations ``(C, D)``."""
    return scale @ scale.mT if scale.dim() == 3 else torch.diag_embed(scale.square())


def precision_from_scale(scale: Tensor) -> Tensor:
    """Their inverses, ``(C, D, D)``."""
    return torch.cholesky_inverse(scale) if scale.dim() == 3 else torch.diag_embed(scale.square().reciprocal())


def floored(covariance: Tensor, floor: Tensor, total: Tensor | None = None) -> Tensor:
    r"""Cholesky factors ``(…, D, D)`` of covariances :math:`\Sigma \succeq \operatorname{diag}(f)^2`.

    Raising the eigenvalues of :math:`F^{-1} \Sigma F^{-1}` that are below one is the maximum of the likelihood under
    that constraint, so EM with it is still monotone; with floors that follow the columns it is the same in all their
    units. A covariance whose correlations are singular in its dtype (collinear columns) has a higher floor, if it is
    so large that rounding is above this one: :math:`\max(10, D) \epsilon` times `total`, which stays the same from
    step to step, so that EM stays monotone.

    Args:
        covariance: :math:`\Sigma`, ``(…, D, D)``.
        floor: f, under the standard deviations, ``(D,)``.
        total: the data's variance summed over columns in units of f; None takes the largest eigenvalue of all the
            covariances.
    """
    scaled = covariance / (floor * floor.unsqueeze(-1))
    scaled = 0.5 * (scaled + scaled.mT)
    features = scaled.shape[-1]
    rounding = max(10, features) * torch.finfo(scaled.dtype).eps
    variances = scaled.diagonal(dim1=-2, dim2=-1)
    deviations = variances.clamp_min(1.0).sqrt()
    correlation = scaled / (deviations.unsqueeze(-1) * deviations.unsqueeze(-2))
    least = torch.linalg.eigvalsh(correlation)[..., :1]
    # the smallest eigenvalue of what is scaled is at least this one times the smallest variance
    singular = least < rounding
    if not bool((singular | (least * variances.amin(-1, keepdim=True) < 1.0)).any()):
        return (floor * deviations).unsqueeze(-1) * torch.linalg.cholesky(correlation)
    values, vectors = torch.linalg.eigh(scaled)
    largest = values[..., -1:]
    singular = singular & (rounding * largest > 1.0)
    largest = torch.maximum(largest.amax() if total is None else total, largest)
    lowest = torch.where(singular, rounding * largest, 1.0)
    low = values < lowest
    # Of the root, not of the product, which may be singular in this dtype.
    root = torch.linalg.qr(torch.maximum(values, lowest).sqrt().unsqueeze(-1) * vectors.mT, mode="r").R
    lifted = root.mT * root.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    low = low.any(-1)[..., None, None]
    eye = torch.eye(features, dtype=covariance.dtype, device=covariance.device)
    healthy = deviations.unsqueeze(-1) * torch.linalg.cholesky(torch.where(low, eye, correlation))
    return floor.unsqueeze(-1) * torch.where(low, lifted.tril(), healthy)


def _total_variance(weights: Tensor, means: Tensor, covariance: Tensor, unit: Tensor) -> Tensor:
    r"""The trace of :math:`\sum_k \pi_k (\Sigma_k + (\mu_k - \bar\mu)(\mu_k - \bar\mu)^\top)`, ``()``, each column in
    its `unit`, ``(D,)``.

    After an M step it is that of the data, whatever the responsibilities were. Arguments as of
    :meth:`Covariance.maximiser`.
    """
    own = covariance.diagonal(dim1=-2, dim2=-1) if covariance.dim() == 3 else covariance
    return (weights[:, None] * (own + (means - weights @ means).square()) / unit.square()).sum()
