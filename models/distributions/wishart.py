"""The Wishart distribution of a precision matrix through its Cholesky factor, and the normal with that precision."""

from __future__ import annotations

__all__ = ["LowerTriangular", "PrecisionNormal", "TriangularProduct", "WishartCholesky"]

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import biject_to, constraints, register_kl, transform_to
from torch.distributions.transforms import Transform


class LowerTriangular(constraints.Constraint):
    r"""Lower-triangular matrices with positive diagonal; :math:`\mathbb R^{D(D+1)/2}` in unconstrained space."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        """Whether each matrix is one."""
        return (value.tril() == value).flatten(-2).all(-1) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _FromVector(Transform):
    """The rows of the triangle one after another, the diagonal by its logarithm."""

    domain = constraints.real_vector
    codomain = LowerTriangular()
    bijective = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _FromVector)

    def __hash__(self) -> int:
        return hash(type(self))

    def _call(self, x: Tensor) -> Tensor:
        side = _side(x.shape[-1])
        rows = torch.arange(side, device=x.device)
        place = (rows * (rows + 1) // 2)[:, None] + rows
        square = x[..., place.clamp_max(x.shape[-1] - 1)]
        return square.tril(-1) + square.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        square = y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()
        row, column = torch.tril_indices(y.shape[-1], y.shape[-1], device=y.device)
        return square[..., row, column]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return y.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], _side(shape[-1]), _side(shape[-1])))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-2], shape[-1] * (shape[-1] + 1) // 2))


class TriangularProduct(Transform):
    r""":math:`A \mapsto S A` of lower-triangular matrices with positive diagonal.

    Args:
        left: S, ``(…, D, D)``.
    """

    domain = LowerTriangular()
    codomain = LowerTriangular()
    bijective = True

    def __init__(self, left: Tensor) -> None:
        super().__init__()
        self.left = left

    def _call(self, x: Tensor) -> Tensor:
        return self.left @ x

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.left, y, upper=False)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return _log_volume(self.left).expand(x.shape[:-2])


@biject_to.register(LowerTriangular)
@transform_to.register(LowerTriangular)
def _(constraint: LowerTriangular) -> Transform:
    return _FromVector()


class WishartCholesky(TorchDistribution):
    r"""The lower Cholesky factor L of a Wishart matrix.

    .. math:: L L^\top = \Lambda \sim \mathcal W(\nu, S S^\top), \qquad
        p(L) = p(\Lambda)\, 2^D \prod_{i=1}^D L_{ii}^{D - i + 1}.

    It is Bartlett's: in :math:`A = S^{-1} L` all entries are independent, :math:`A_{ii}^2 \sim \chi^2_{\nu - i + 1}`
    and :math:`A_{ij} \sim \mathcal N(0, 1)` below the diagonal.

    Args:
        degrees: :math:`\nu > D - 1`, of any batch shape.
        scale_tril: S, ``(…, D, D)``.

    Reference: M. Bartlett, *On the theory of statistical regression*, 1933, https://doi.org/10.1017/S0370164600022203

    Example:
        >>> law = WishartCholesky(torch.tensor(5.0), torch.eye(2))
        >>> draws = law.sample((2_000,))
        >>> bool(((draws @ draws.mT).mean(0) - 5 * torch.eye(2)).abs().max() < 0.5)
        True
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = LowerTriangular()
    has_rsample = True

    def __init__(self, degrees: Tensor, scale_tril: Tensor, validate_args: bool | None = None) -> None:
        shape = torch.broadcast_shapes(degrees.shape, scale_tril.shape[:-2])
        self.degrees, self.scale_tril = degrees.expand(shape), scale_tril.expand(*shape, *scale_tril.shape[-2:])
        super().__init__(shape, scale_tril.shape[-2:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> WishartCholesky:
        shape = torch.Size(batch_shape)
        tril = self.scale_tril.expand(*shape, *self.event_shape)
        return WishartCholesky(self.degrees.expand(shape), tril, validate_args=False)

    @property
    def chi_degrees(self) -> Tensor:
        r""":math:`\nu - i + 1`, ``(…, D)``."""
        side = self.event_shape[-1]
        return self.degrees.unsqueeze(-1) - torch.arange(side, dtype=self.degrees.dtype, device=self.degrees.device)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        half = 0.5 * self.chi_degrees
        half = half.expand(self._extended_shape(torch.Size(sample_shape))[:-1])
        diagonal = (2 * torch._standard_gamma(half)).clamp_min(torch.finfo(half.dtype).tiny).sqrt()
        below = torch.randn(self._extended_shape(torch.Size(sample_shape)), dtype=half.dtype, device=half.device).tril(
            -1
        )
        return self.scale_tril @ (below + diagonal.diag_embed())

    def log_prob(self, value: Tensor) -> Tensor:
        unit = torch.linalg.solve_triangular(self.scale_tril, value, upper=False)
        root, degrees = unit.diagonal(dim1=-2, dim2=-1), self.chi_degrees
        # log of the chi densities without exp(-r^2 / 2), which joins the normals' squares
        chi = (degrees - 1) * root.log() + (1 - 0.5 * degrees) * math.log(2) - (0.5 * degrees).lgamma()
        side = self.event_shape[-1]
        squares = 0.5 * unit.square().sum((-2, -1)) + 0.25 * side * (side - 1) * math.log(2 * math.pi)
        return chi.sum(-1) - squares - _log_volume(self.scale_tril)

    @property
    def expected_log_det(self) -> Tensor:
        r""":math:`\mathbb E \log |\Lambda|`, of the batch shape."""
        log_scale = self.scale_tril.diagonal(dim1=-2, dim2=-1).log()
        return ((0.5 * self.chi_degrees).digamma() + math.log(2) + 2 * log_scale).sum(-1)


class PrecisionNormal(TorchDistribution):
    r"""The normal with a precision matrix, :math:`\mathcal N(x; \mu, (L L^\top)^{-1})`.

    Neither the density nor a draw inverts anything, and expanding copies nothing.

    Args:
        loc: :math:`\mu`, ``(…, D)``.
        precision_tril: L, ``(…, D, D)``, lower triangular.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, precision_tril: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.precision_tril = loc, precision_tril
        shape = torch.broadcast_shapes(loc.shape[:-1], precision_tril.shape[:-2])
        super().__init__(shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> PrecisionNormal:
        new = PrecisionNormal(self.loc, self.precision_tril, validate_args=False)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        moved = torch.linalg.solve_triangular(self.precision_tril.mT, noise.unsqueeze(-1), upper=True).squeeze(-1)
        return self.loc + moved

    def log_prob(self, value: Tensor) -> Tensor:
        white = torch.einsum("...i,...ij->...j", value - self.loc, self.precision_tril)
        log_scale = self.precision_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        found = log_scale - 0.5 * white.square().sum(-1) - 0.5 * self.event_shape[0] * math.log(2 * math.pi)
        return found.expand(torch.broadcast_shapes(found.shape, self.batch_shape))

    @property
    def mean(self) -> Tensor:
        return self.loc.expand(*self.batch_shape, *self.event_shape)


@register_kl(WishartCholesky, WishartCholesky)
def _kl_wishart(q: WishartCholesky, p: WishartCholesky) -> Tensor:
    side = q.event_shape[-1]
    ratio = torch.linalg.solve_triangular(p.scale_tril, q.scale_tril, upper=False)
    log_ratio = ratio.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # half of log |W_q| - log |W_p|
    half_q, half_p = 0.5 * q.chi_degrees, 0.5 * p.chi_degrees
    gammas = (half_p.lgamma() - half_q.lgamma() + 0.5 * (q.degrees - p.degrees).unsqueeze(-1) * half_q.digamma()).sum(
        -1
    )
    return 0.5 * q.degrees * (ratio.square().sum((-2, -1)) - side) - p.degrees * log_ratio + gammas


@register_kl(PrecisionNormal, PrecisionNormal)
def _kl_normal(q: PrecisionNormal, p: PrecisionNormal) -> Tensor:
    ratio = torch.linalg.solve_triangular(q.precision_tril, p.precision_tril, upper=False)
    white = torch.einsum("...i,...ij->...j", q.loc - p.loc, p.precision_tril)
    log_ratio = ratio.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    found = 0.5 * (ratio.square().sum((-2, -1)) + white.square().sum(-1) - q.event_shape[0]) - log_ratio
    return found.expand(torch.broadcast_shapes(found.shape, q.batch_shape, p.batch_shape))


def _log_volume(left: Tensor) -> Tensor:
    r""":math:`\log |\det|` of multiplying lower-triangular matrices from the left: row i has i entries."""
    diagonal = left.diagonal(dim1=-2, dim2=-1)
    rows = torch.arange(1, diagonal.shape[-1] + 1, dtype=left.dtype, device=left.device)
    return (rows * diagonal.log()).sum(-1)


def _side(length: int) -> int:
    """D from D (D + 1) / 2."""
    return (math.isqrt(8 * length + 1) - 1) // 2
