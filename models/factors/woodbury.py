"""Linear-Gaussian factors: posterior, evidence and moments by Woodbury, with or without missing values."""

from __future__ import annotations

__all__ = [
    "Conditional",
    "FactorMoments",
    "cholesky",
    "expected_statistics",
    "condition",
    "condition_rows",
    "posterior_map",
    "principal_axes",
    "row_groups",
    "start_weight",
]

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..common.linalg import checked_cholesky
from ..common.precision import wide
from .rotation import signs

_NUMBERS = 2**18  # in one group of rows: it stays in a processor's cache


class Conditional(NamedTuple):
    r"""Factors given data: :math:`z_n \mid x_n \sim \mathcal N(m_n, M_n^{-1})`.

    Attributes:
        loc: :math:`m`, ``(N, L)``.
        tril: Cholesky factor of the precision :math:`M`, ``(L, L)``, or ``(N, L, L)`` where values are missing.
        residual: :math:`x - \mu`, ``(N, D)``, zero where missing.
        log_prob: :math:`\log p(x_n)` of what is observed, ``(N,)``.
    """

    loc: Tensor
    tril: Tensor
    residual: Tensor
    log_prob: Tensor


def condition(x: Tensor, weight: Tensor, bias: Tensor, noise: Tensor, observed: Tensor | None = None) -> Conditional:
    r"""Posterior and evidence under :math:`z \sim \mathcal N(0, I), x \mid z \sim \mathcal N(W z + \mu, \Psi)`.

    With :math:`M = I + W^\top \Psi^{-1} W` and :math:`m = M^{-1} W^\top \Psi^{-1} (x - \mu)`, by Woodbury and without
    its cancellation,

    .. math::
        -2 \log p(x) = \lVert x - \mu - W m \rVert^2_{\Psi^{-1}} + \lVert m \rVert^2 + \log \lvert M \rvert
        + \log \lvert 2 \pi \Psi \rvert.

    Args:
        x: ``(N, D)``; a missing value may hold anything.
        weight: W, ``(D, L)``.
        bias: :math:`\mu`, ``(D,)``.
        noise: the diagonal of :math:`\Psi`, ``(D,)``.
        observed: ``(N, D)`` boolean: every sum over features is over these. None: all are, and rows share M.
    """
    scaled = weight / noise.unsqueeze(-1)
    eye = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    if observed is None:
        residual, log_noise, count = x - bias, (2 * math.pi * noise).log().sum(), None
        tril = cholesky(eye + weight.mT @ scaled)
        loc = torch.cholesky_solve((residual @ scaled).mT, tril).mT
    else:
        residual = torch.where(observed, x, bias) - bias
        count = observed.to(weight.dtype)
        log_noise = count @ (2 * math.pi * noise).log()
        outer = (weight.unsqueeze(-1) * scaled.unsqueeze(-2)).flatten(1)
        tril = cholesky(eye + (count @ outer).unflatten(-1, eye.shape))
        loc = torch.cholesky_solve((residual @ scaled).unsqueeze(-1), tril).squeeze(-1)
    error = (residual - loc @ weight.mT).square()
    square = (error if count is None else error * count) @ noise.reciprocal() + loc.square().sum(-1)
    log_det = 2 * tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return Conditional(loc, tril, residual, -0.5 * (square + log_det + log_noise))


def condition_rows(field: str, x: Tensor, weight: Tensor, bias: Tensor, noise: Tensor) -> Tensor:
    """A field of :class:`Conditional` for every row of `x`, NaN where missing, found a group of rows at a time."""
    groups = row_groups(x, weight.shape[1])
    parts = [(index, getattr(condition(rows, weight, bias, noise, seen), field)) for index, rows, seen in groups]
    order = torch.cat([index for index, _ in parts]).argsort()
    return torch.cat([value for _, value in parts])[order]


def posterior_map(weight: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    r"""A and S of :math:`z \mid x \sim \mathcal N(A (x - \mu), S)` where nothing is missing, ``(L, D)``, ``(L, L)``."""
    scaled = weight / noise.unsqueeze(-1)
    eye = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    tril = cholesky(eye + weight.mT @ scaled)
    return torch.cholesky_solve(scaled.mT, tril), torch.cholesky_inverse(tril)


def row_groups(x: Tensor, latent_dim: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Rows with nothing missing, then the others, a bounded number at a time: index, rows, and what is observed."""
    numbers = x.shape[1] + latent_dim
    if not bool(x.isnan().any()):
        size = max(1, _NUMBERS // numbers)
        yield from zip(torch.arange(len(x), device=x.device).split(size), x.split(size), itertools.repeat(None))
        return
    observed = ~x.isnan()
    complete = observed.all(1)
    for index in complete.nonzero().squeeze(-1).split(max(1, _NUMBERS // numbers)):
        if len(index):
            yield index, x[index], None
    for index in (~complete).nonzero().squeeze(-1).split(max(1, _NUMBERS // (numbers + latent_dim**2))):
        if len(index):
            yield index, x[index], observed[index]


class FactorMoments(NamedTuple):
    r"""Expected sufficient statistics, with :math:`\tilde z = (z, 1)` and :math:`r = x - \mu` at the E step.

    Attributes:
        centre: :math:`\mu`, ``(D,)``.
        latent: :math:`\sum_n \mathbb E[\tilde z_n \tilde z_n^\top]`, ``(L + 1, L + 1)``.
        design: the same over the rows in which each feature is observed, ``(D, L + 1, L + 1)``; None if all are.
        cross: :math:`\sum_n r_{nd} \mathbb E[\tilde z_n]` over those rows, ``(D, L + 1)``.
        squares: :math:`\sum_n r_{nd}^2`, ``(D,)``.
        counts: those rows' number, ``(D,)``.
    """

    centre: Tensor
    latent: Tensor
    design: Tensor | None
    cross: Tensor
    squares: Tensor
    counts: Tensor

    def regression(self) -> tuple[Tensor, Tensor]:
        r"""The best :math:`(W, \mu - \text{centre})`, ``(D, L + 1)``, and the squares left, ``(D,)``."""
        if self.design is None:
            best = torch.cholesky_solve(self.cross.mT, cholesky(self.latent)).mT
        else:
            eye = torch.eye(self.cross.shape[1], dtype=self.cross.dtype, device=self.cross.device)
            design = torch.where((self.counts > 0)[:, None, None], self.design, eye)
            best = torch.cholesky_solve(self.cross.unsqueeze(-1), cholesky(design)).squeeze(-1)
        return best, (self.squares - (best * self.cross).sum(-1)).clamp_min(0)


def expected_statistics(
    x: Tensor, weight: Tensor, bias: Tensor, noise: Tensor, times: Tensor | None = None
) -> tuple[FactorMoments, Tensor]:
    """The moments of all rows, and their log evidence, ``()``; in float64, a group of rows at a time.

    The M step takes small noise from the difference of large sums, which float32 does not hold. Rows with nothing
    missing cost O(N D L) time and add O(D L) memory to the data; the others O(N (D L^2 + L^3)) time and O(D L^2)
    memory, with a bounded working space for both. A row counts as often as `times` ``(N,)`` says, once if that is None.
    """
    weight, bias, noise = wide(weight), wide(bias), wide(noise)
    features, latents = weight.shape
    latent = weight.new_zeros(latents + 1, latents + 1)
    design: Tensor | None = None
    shared = torch.zeros_like(latent)
    cross = weight.new_zeros(features, latents + 1)
    squares, counts, total = torch.zeros_like(bias), torch.zeros_like(bias), weight.new_zeros(())
    for index, rows, observed in row_groups(x, latents):
        found = condition(wide(rows), weight, bias, noise, observed)
        extended = torch.nn.functional.pad(found.loc, (0, 1), value=1.0)
        often = None if times is None else times[index].unsqueeze(-1)
        counted, residual = (extended, found.residual) if often is None else (extended * often, found.residual * often)
        total = total + (found.log_prob if often is None else found.log_prob * often.squeeze(-1)).sum()
        cross += found.residual.mT @ counted
        squares += (residual * found.residual).sum(0)
        covariance = torch.cholesky_inverse(found.tril)
        if observed is None:
            moment = counted.mT @ extended
            moment[:-1, :-1] += moment[-1, -1] * covariance
            shared += moment
            counts += moment[-1, -1]
        else:
            each = extended.unsqueeze(-1) * extended.unsqueeze(-2)
            each[:, :-1, :-1] += covariance
            here = observed.to(weight.dtype)
            if often is not None:
                each = each * often.unsqueeze(-1)
            moment = each.sum(0)
            own = (here.mT @ each.flatten(1)).unflatten(-1, latent.shape)
            design = own if design is None else design + own
            counts += (here if often is None else here * often).sum(0)
        latent += moment
    if design is not None:
        design = design + shared
    return FactorMoments(bias.clone(), latent, design, cross, squares, counts), total


def cholesky(matrix: Tensor) -> Tensor:
    """The Cholesky factors of a precision or of moments.

    Raises:
        ValueError: a matrix is not positive definite in its dtype.
    """
    trouble = "The factors' moments are not positive definite (factors repeat each other, or their noise is too small)"
    return checked_cholesky(matrix, trouble, "or use fewer factors")


def principal_axes(x: Tensor, num: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `num` largest eigenvalues of ``x.T @ x / N``, descending, their unit vectors ``(D, num)``, and the sum of the
    other eigenvalues. By whichever of ``x.T @ x`` and ``x @ x.T`` is smaller, in float64: the others may be small."""
    rows, features = x.shape
    tall = rows >= features
    parts = (x if tall else x.mT).split(max(1, _NUMBERS // min(rows, features)))
    values, vectors = torch.linalg.eigh(sum(wide(part).mT @ wide(part) for part in parts) / rows)
    values, vectors = values.flip(-1).clamp_min(0), vectors.flip(-1)
    rest = values[num:].sum()
    values, vectors = values[:num], vectors[:, :num].to(x.dtype)
    if not tall:
        vectors = x.mT @ vectors / (rows * values).clamp_min(torch.finfo(x.dtype).tiny).sqrt()
    return values, vectors * signs(vectors), rest


def start_weight(x: Tensor, num: int, seed: int) -> Tensor:
    """Loadings ``(D, num)`` of centred data, near their principal axes, less the noise that the other axes show."""
    values, axes, rest = principal_axes(x, num)
    noise = rest / max(1, x.shape[1] - num)
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.randn(axes.shape, generator=generator, device="cpu", dtype=axes.dtype).to(axes.device)
    return axes * (values - noise).clamp_min(0).sqrt() + 0.1 * jitter / num**0.5
