"""Importance weights of a fit on all its data, reduced as they come, in bounded memory."""

from __future__ import annotations

__all__ = ["Importance", "WeightSummary", "has_own_weights", "importance_weights"]

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...options import check_count
from ...pair.terms import evaluate
from .chunking import Chunks, chunk_seed, most_bytes, return_free_memory
from .kept_draws import KeptDraws
from .log_mean import log_mean_error, smoothed_size
from .pareto import LargestWeights
from .pieces import DependsOnData, pieces, plan
from .scoring import Scored, random_sites, refuse_point_masses, scored


class WeightSummary:
    r"""Streaming summary of ``K`` log weights ``(K, ...)``: their log mean, its bias and error, effective size, k-hat.

    .. math:: \log \bar w = \log \frac1K \sum_k w_k, \qquad
       v = \frac{1}{K - 1} \Big( K \frac{\sum w_k^2}{(\sum w_k)^2} - 1 \Big)

    The bias of :math:`\log \bar w` is about :math:`-v / 2` (delta method). For the error see :mod:`.log_mean`. Sums are
    kept in float64, relative to the largest weight so far.
    """

    def __init__(self, num_particles: int) -> None:
        self.num_particles = num_particles
        self.largest = LargestWeights(num_particles)
        self.sum: Tensor | None = None  # log sum w
        self.sum_squares: Tensor | None = None  # log sum w^2

    def update(self, log_weights: Tensor) -> None:
        self.largest.update(log_weights)
        new = log_weights.double()
        first, second = new.logsumexp(0), (2.0 * new).logsumexp(0)
        self.sum = first if self.sum is None else torch.logaddexp(self.sum, first)
        self.sum_squares = second if self.sum_squares is None else torch.logaddexp(self.sum_squares, second)

    def finish(self, exact: bool = False) -> Importance:
        """The summary; with `exact` the weights are known not to vary."""
        assert self.sum is not None and self.sum_squares is not None
        k = self.num_particles
        log_mean = self.sum - math.log(k)
        if exact:
            zero = torch.zeros_like(log_mean)
            return Importance(log_mean, zero, zero, zero + k, zero - math.inf, k, exact=True)
        tail = self.largest.tail()
        total, squares = torch.exp(self.sum - tail.largest), torch.exp(self.sum_squares - 2.0 * tail.largest)
        size = smoothed_size(tail, total, squares, k)
        if k == 1:
            unknown = torch.full_like(log_mean, math.nan)
            return Importance(log_mean, torch.zeros_like(log_mean), unknown, size, tail.k, k)
        plain = (k * squares / total.square() - 1.0).clamp(min=0.0) / (k - 1)
        bias = -0.5 * plain.nan_to_num(nan=0.0)  # weights that are all zero, or not finite, keep their mean
        return Importance(log_mean, bias, log_mean_error(tail, total, squares, k, plain), size, tail.k, k)


_TRIM_EVERY = 16  # pieces of data between returns of free memory


@dataclass(frozen=True)
class Importance:
    """Reduced importance weights: ``(N,)`` each, one per datum, or ``()`` for the joint weight of all data.

    Attributes:
        log_mean: log of the mean weight, in expectation a lower bound on the log evidence.
        bias: about how far `log_mean` is from the log evidence, negative.
        variance: squared error of ``log_mean - bias``.
        ess: effective number of particles, of the smoothed weights.
        pareto_k: k-hat of the weights.
        num_particles: how many weights.
        exact: nothing is random: no latent, or all summed out.
        constant: what the log evidence has besides the sum of `log_mean`: factors of the parameters alone.
        num_local_particles: draws of the local latents per draw of the global ones, in a joint weight.
        chunks: the pieces it was computed in.
    """

    log_mean: Tensor
    bias: Tensor
    variance: Tensor
    ess: Tensor
    pareto_k: Tensor
    num_particles: int
    exact: bool = False
    constant: float = 0.0
    num_local_particles: int = 1
    chunks: Chunks | None = None

    @property
    def log_evidence(self) -> Tensor:
        """The log mean without its bias."""
        return self.log_mean - self.bias

    @property
    def joint(self) -> bool:
        return self.log_mean.dim() == 0


def importance_weights(
    fit: Any,
    data: Any,
    metric: str,
    *,
    seed: int,
    num_particles: int,
    num_local_particles: int | None,
    max_bytes: int | None,
    kept: KeptDraws | None = None,
) -> tuple[Importance, int]:
    """Weights ``p(x, z) / q(z)``, per datum if all latents are local and the data independent, else jointly; and ``N``.

    The draws are a pure function of (seed, position of the piece, size of the pieces): a repeated call gives the same
    bits, another `max_bytes` other draws from the same distribution.

    Args:
        kept: is given the draws of the global latents (or each datum's likelihoods) with their joint weights, where the
            weights are joint.

    Raises:
        ModelError: if the guide of a latent is a point mass, which `metric` cannot score.
        DataError: if the data do not fit the model, or there are none.
        ConfigurationError: if a count or `max_bytes` is not positive.
    """
    num_particles = check_count("num_particles", num_particles)
    if num_local_particles is not None:
        num_local_particles = check_count("num_local_particles", num_local_particles)
    with scored(fit, data, draw_discrete=True) as pair:
        refuse_point_masses(pair.structure, metric)
        memory = most_bytes(max_bytes, pair.device)
        return _weights(pair, seed, num_particles, num_local_particles, memory, kept), pair.size


def has_own_weights(scored: Scored) -> bool:
    """Whether each datum has a weight of its own: all that is drawn is local, and the data independent."""
    structure = scored.structure
    summed_globals = any(site.enumerated and not site.local for site in structure.sites.values())
    independent = structure.batch_size is not None and not summed_globals and not scored.coupled
    return independent and all(structure.sites[name].local for name in random_sites(structure))


def _weights(
    scored: Scored,
    seed: int,
    num_particles: int,
    num_local_particles: int | None,
    max_bytes: int,
    kept: KeptDraws | None = None,
) -> Importance:
    structure = scored.structure
    random = [structure.sites[name] for name in random_sites(structure)]
    summed_globals = any(site.enumerated and not site.local for site in structure.sites.values())
    num_particles = num_particles if random else 1
    if has_own_weights(scored):
        return _local(scored, seed, num_particles, max_bytes, exact=not random)
    inner = num_local_particles or math.isqrt(num_particles)
    nested = any(site.local for site in random) and not scored.coupled
    inner = inner if nested else 1
    slices = scored.sliceable and not summed_globals
    joint = _Joint(max(num_particles // inner, 1), inner, not random, slices, nested)
    try:
        return _joint(scored, seed, max_bytes, joint, kept)
    except DependsOnData:
        joint = replace(joint, num_particles=num_particles, inner=1, slices=False)
        return _joint(scored, seed, max_bytes, joint, kept)


@dataclass(frozen=True)
class _Joint:
    """How a joint weight is computed: see `_joint`."""

    num_particles: int
    inner: int
    exact: bool
    slices: bool
    nested: bool


def _local(scored: Scored, seed: int, num_particles: int, max_bytes: int, exact: bool) -> Importance:
    """A weight per datum: for each piece of the data, all particles, piece by piece."""
    chunks = plan(scored, num_particles, max_bytes, slices=scored.sliceable)
    parts, constant = [], 0.0
    for j, rows in chunks.over_data():
        batch, summary = scored.rows(rows), WeightSummary(num_particles)
        for i, k in chunks.over_particles():
            terms = evaluate(scored.program, batch, num_particles=k, seed=chunk_seed(seed, i, j))
            assert terms.log_weight_local is not None
            summary.update(terms.log_weight_local)
            if i == j == 0 and terms.log_weight_global is not None:  # a factor of the parameters alone
                constant = float(terms.log_weight_global[0])
        parts.append(summary.finish(exact))
        if j % _TRIM_EVERY == 0:
            return_free_memory()
    columns = ("log_mean", "bias", "variance", "ess", "pareto_k")
    joined: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in columns}
    return Importance(**joined, num_particles=num_particles, exact=exact, constant=constant, chunks=chunks)


def _joint(scored: Scored, seed: int, max_bytes: int, joint: _Joint, kept: KeptDraws | None = None) -> Importance:
    """Joint weights: the local terms are summed over pieces of the data for the same draws of the global latents."""
    chunks = plan(scored, joint.num_particles, max_bytes, slices=joint.slices, inner=joint.inner)
    if kept is not None:
        kept.clear()
    summary = WeightSummary(joint.num_particles)
    for piece in pieces(scored, chunks, seed=seed, inner=joint.inner):
        if piece.first:
            total = torch.zeros(piece.particles, dtype=torch.float64, device=scored.device)
            if piece.terms.log_weight_global is not None:
                total += piece.terms.log_weight_global.double().reshape(piece.particles, joint.inner)[:, 0]
        local = piece.terms.log_weight_local
        if local is not None:
            per_datum = local.double().reshape(piece.particles, joint.inner, -1).logsumexp(1) - math.log(joint.inner)
            total += per_datum.sum(1)
            if kept is not None:  # where local latents are drawn, what their mean weight gives a datum
                kept.add_rows(per_datum if joint.nested else piece.terms.log_likelihood)
        if piece.last:
            summary.update(total)
            if kept is not None:
                kept.add(total, piece.terms, joint.inner)
    return replace(summary.finish(joint.exact), num_local_particles=joint.inner, chunks=chunks)
