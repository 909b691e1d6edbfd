"""Pareto k-hat of importance weights, for many data at once, from their largest weights only."""

from __future__ import annotations

__all__ = ["LargestWeights", "Tail", "k_threshold", "psis_k", "said_of_k_hats", "tail_length"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LOG_TINY = math.log(torch.finfo(torch.float64).tiny)
_PRIOR_K, _PRIOR_COUNT = 0.5, 10.0  # weakly informative prior of k: ten observations at 0.5
_PRIOR_SCALE = 3.0


def tail_length(num_particles: int) -> int:
    """Size of the tail, :math:`M = \\lceil \\min(K / 5,\\ 3 \\sqrt K) \\rceil`."""
    return math.ceil(min(num_particles / 5.0, 3.0 * math.sqrt(num_particles)))


def k_threshold(num_particles: int) -> float:
    """The k-hat above which ``K`` draws do not suffice, :math:`\\min(1 - 1 / \\log_{10} K,\\ 0.7)`.

    Example:
        >>> k_threshold(100), k_threshold(5_000)
        (0.5, 0.7)
    """
    if num_particles <= 10:
        return 0.0
    return min(1.0 - 1.0 / math.log10(num_particles), 0.7)


def said_of_k_hats(k_hats: Tensor, threshold: float) -> str:
    """What is to be said against an estimate: a k-hat above the threshold, of the fit ``()`` or of some data ``(N,)``;
    else nothing.
    """
    above = ~(k_hats <= threshold)
    if not bool(above.any()):
        return ""
    if not above.dim():
        return f"k-hat {float(k_hats):.2g}"
    count, size = int(above.sum()), len(above)
    share = f"{count / size:.0%}" if count >= 0.01 * size else f"{count} of the {size:,}"
    return f"k-hat above {threshold:.2g} for {share} {'of the data' if count >= 0.01 * size else 'data'}"


def psis_k(log_weights: Tensor) -> Tensor:
    r"""Shape :math:`\hat k` of the generalised Pareto distribution of the largest importance weights.

    .. math:: p(y \mid k, \sigma) = \sigma^{-1} (1 + k y / \sigma)^{-1/k - 1}, \quad y = w - w_{(K - M)}

    The ``1/k``-th and higher moments of the weights do not exist: below 0.5 good, to 0.7 usable, above poor
    (and see :func:`k_threshold`).  Three cases have no tail to fit:

    - constant weights (to rounding: an exact posterior, or no latent at all): ``-inf``, as good as can be;
    - a single weight, or fewer than five above the cutoff though they are not constant: ``+inf``, as in ArviZ;
    - a weight that is nan or infinite, or no weight above zero: ``nan``.

    Args:
        log_weights: ``(K, ...)``, log importance weights, unscaled; any shift per datum cancels. ``-inf`` is allowed.

    Returns:
        ``(...)``, float64.

    Raises:
        ValueError: if there is no particle.

    References: A. Vehtari, D. Simpson, A. Gelman, Y. Yao, J. Gabry, "Pareto smoothed importance sampling", JMLR 25(72),
    2024, https://jmlr.org/papers/v25/19-556.html; J. Zhang, M. A. Stephens, "A new and efficient estimation method for
    the generalized Pareto distribution", Technometrics 51(3), 2009, https://doi.org/10.1198/tech.2009.08017.

    Example:
        >>> psis_k(torch.zeros(100))
        tensor(-inf, dtype=torch.float64)
    """
    if log_weights.dim() == 0 or len(log_weights) == 0:
        raise ValueError(f"`log_weights` must have shape (K, ...) with K >= 1, got {tuple(log_weights.shape)}.")
    largest = LargestWeights(len(log_weights))
    largest.update(log_weights)
    return largest.k()


class LargestWeights:
    """Streaming form of :func:`psis_k`: keeps the ``M + 1`` largest of ``K`` log weights of each datum.

    Memory is ``N x (M + 1)`` numbers instead of ``N x K`` (213 instead of 5,000).  The last of those kept is the
    cutoff.  The result does not depend on how the ``K`` weights are cut into updates.

    Example:
        >>> log_weights, largest = torch.randn(1_000, 7), LargestWeights(1_000)
        >>> for chunk in log_weights.split(128):
        ...     largest.update(chunk)
        >>> bool((largest.k() == psis_k(log_weights)).all())
        True
    """

    def __init__(self, num_particles: int) -> None:
        if num_particles < 1:
            raise ValueError(f"`num_particles` must be positive, got {num_particles}.")
        self.num_particles = num_particles
        self.keep = min(tail_length(num_particles) + 1, num_particles)
        self.seen = 0
        self._top: Tensor | None = None  # (..., <= keep), unordered
        self._low: Tensor | None = None  # (...), smallest weight so far

    def update(self, log_weights: Tensor) -> None:
        """Take in the weights ``(k, ...)`` of ``k`` more particles."""
        self.seen += len(log_weights)
        if self.seen > self.num_particles:
            raise ValueError(f"`num_particles` is {self.num_particles}, got {self.seen} weights.")
        new = log_weights.detach().movedim(0, -1)
        low = new.amin(-1)
        top = new if new.shape[-1] <= self.keep else new.topk(self.keep, dim=-1, sorted=False).values
        if self._top is not None and self._low is not None:
            low = torch.minimum(low, self._low)
            top = torch.cat([self._top, top], -1)
            if top.shape[-1] > self.keep:
                top = top.topk(self.keep, dim=-1, sorted=False).values
        self._top, self._low = top, low

    def k(self) -> Tensor:
        """k-hat of each datum, ``(...)`` in float64, once all ``K`` weights were seen."""
        return self.tail().k

    def tail(self) -> Tail:
        """The tail of each datum with what was fitted to it, once all ``K`` weights were seen."""
        if self._top is None or self._low is None or self.seen != self.num_particles:
            raise ValueError(f"`num_particles` is {self.num_particles}, got only {self.seen} weights so far.")
        top, low = self._top.double(), self._low.double()
        shape = low.shape
        ordered = top.reshape(-1, top.shape[-1]).sort(-1, descending=True).values
        largest, low = ordered[:, 0], low.reshape(-1)
        valid = largest.isfinite() & ~low.isnan()
        eps = torch.finfo(self._top.dtype).eps
        constant = (largest - low) <= torch.clamp(64.0 * eps * largest.abs(), min=math.sqrt(eps))

        shifted = torch.where(valid[:, None], ordered - largest[:, None], 0.0)
        cutoff = shifted[:, -1:].clamp(min=_LOG_TINY)
        in_tail = shifted > cutoff
        # exp(x) - exp(cutoff), in units of the largest weight; expm1 keeps the digits of near ties
        tail = torch.where(in_tail, torch.exp(cutoff) * torch.expm1(shifted - cutoff), 0.0)
        length = in_tail.sum(-1)
        k, law, grid = _fit_shape(tail, length)
        if self.num_particles > 1:
            k = torch.where(constant, -math.inf, k)
        k = torch.where(valid, k, math.nan)
        cells = (*shape, -1)
        return Tail(
            k.reshape(shape),
            largest.reshape(shape),
            torch.exp(cutoff).reshape(shape),
            tail.reshape(cells),
            length.reshape(shape),
            *(part.reshape(shape) for part in law),
            *(part.reshape(cells) for part in grid),
        )


@dataclass(frozen=True)
class Tail:
    r"""The largest weights of each datum, in units of its largest one, and the Pareto laws that may have made them.

    Attributes:
        k: ``(...)``, k-hat.
        largest: ``(...)``, log of the largest weight.
        cutoff: ``(...)``, the weight :math:`u` above which the tail begins.
        excess: ``(..., M)``, :math:`w - u` of the weights above it, in descending order, then zeros.
        length: ``(...)``, how many lie above it.
        shape, scale: ``(...)``, of the one law that stands for all of the grid, without the prior that k-hat has.
        shapes, scales: ``(..., J)``, a grid of :math:`k_j` and :math:`\sigma_j`.
        heights: ``(..., J)``, their profile log likelihoods.
    """

    k: Tensor
    largest: Tensor
    cutoff: Tensor
    excess: Tensor
    length: Tensor
    shape: Tensor
    scale: Tensor
    shapes: Tensor
    scales: Tensor
    heights: Tensor


def _fit_shape(tail: Tensor, length: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Posterior mean of k by the empirical Bayes fit of Zhang and Stephens, its law, and the grid it was averaged over.

    Args:
        tail: ``(N, M)``, exceedances in descending order, zeros after the first `length` of each row.
        length: ``(N,)``; with fewer than five there is no fit, and k is ``+inf``.

    Returns:
        k, ``(N,)``; shape and scale of the law before k's prior, ``(N,)`` each; and shapes, scales and profile log
        likelihoods of the grid, ``(N, J)`` each.
    """
    fitted = length >= 5
    count = length.clamp(min=1).to(tail.dtype)
    largest = tail[:, 0].clamp(min=torch.finfo(tail.dtype).tiny)
    quartile = tail.gather(-1, (length - (count / 4.0 + 0.5).long()).clamp(min=0)[:, None]).squeeze(-1)
    quartile = torch.where(fitted, quartile, 1.0)
    grid = 30 + count.sqrt().floor()  # (N,), how many values of b each row averages over

    def mean_log(b: Tensor) -> Tensor:
        return torch.log1p(-b[:, None] * tail).sum(-1) / count  # zeros of the padding add nothing

    bs, ks, heights = [], [], []
    for j in range(1, int(grid.max()) + 1):  # one (N, M) array at a time
        b = 1.0 / largest + (1.0 - torch.sqrt(grid / (j - 0.5))) / (_PRIOR_SCALE * quartile)
        k = mean_log(b)
        height = count * (torch.log(-b / k) - k - 1.0)
        bs.append(b)
        ks.append(k)
        heights.append(torch.where(j <= grid, height, -math.inf))
    b_grid, k_grid, height_grid = torch.stack(bs, -1), torch.stack(ks, -1), torch.stack(heights, -1)
    weights = torch.softmax(height_grid, -1)
    weights = torch.where(weights >= 10.0 * torch.finfo(torch.float64).eps, weights, 0.0)
    b = (b_grid * weights).sum(-1) / weights.sum(-1)
    shape = mean_log(b)
    k = (count * shape + _PRIOR_COUNT * _PRIOR_K) / (count + _PRIOR_COUNT)
    return torch.where(fitted, k, math.inf), (shape, -shape / b), (k_grid, -k_grid / b_grid, height_grid)
