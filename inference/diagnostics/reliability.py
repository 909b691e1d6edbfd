"""Whether a guide's means and standard deviations can be relied on, by the importance weights of its own draws."""

from __future__ import annotations

__all__ = ["Reliability", "examine_reliability", "judge_moments"]

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ..guides import NormalGuide
from .weights.dependence import dependence
from .weights.importance import importance_weights
from .weights.kept_draws import KeptDraws
from .weights.moments import Moments, weighted_moments
from .weights.pareto import k_threshold, tail_length

_SHIFT, _RATIO = 0.3, 1.25  # of a mean in posterior sds, and of an sd to the posterior's (or the other way round)


@dataclass(frozen=True)
class Reliability:
    """What importance weights say of a guide.

    Attributes:
        reliable: whether every mean is within 0.3 posterior sds of that by the weights and every sd within a factor
            of 1.25 (both give or take a standard error), and k-hat below its threshold.
        k_hat: of the weights, or where it is larger that of the worst squared deviation times the weight, less what
            the largest of so many k-hats may be by chance.
        k_weights: of the weights alone.
        threshold: of both, for so many draws.
        quantity: what is worst: ``"mean"``, ``"sd"``, or ``"k-hat"``.
        number: which number of the latents, such as ``"w[3]"``; empty for ``"k-hat"`` of the weights.
        error: of a mean, in posterior sds (the guide's less the posterior's); of an sd, the guide's over the
            posterior's; of a k-hat, itself.
        error_stderr: standard error of `error`.
        num_draws: from the guide.
        reason: in words.
        tied, tied_pair: the share of the variance of log weights that pairs of latents explain, of a guide whose
            latents are independent, and the pair that matters most (see
            :mod:`jensen.inference.diagnostics.weights.dependence`); 0 for other guides.
    """

    reliable: bool
    k_hat: float
    k_weights: float
    threshold: float
    quantity: str
    number: str
    error: float
    error_stderr: float
    num_draws: int
    reason: str
    tied: float = 0.0
    tied_pair: tuple[str, str] | tuple[()] = ()


def examine_reliability(fit: Any, *, seed: int = 0, num_draws: int = 4_000) -> Reliability | None:
    """Draw from the fit's guide, weigh the draws, and compare means and sds; None where no global latent is drawn."""
    kept = KeptDraws()
    importance_weights(
        fit,
        None,
        "reliability",
        seed=seed,
        num_particles=num_draws,
        num_local_particles=None,
        max_bytes=None,
        kept=kept,
    )
    draws = kept.draws
    if not draws:
        return None
    found = judge_moments(weighted_moments(kept.log_weights, draws), len(kept.log_weights))
    ties = dependence(kept.log_weights, draws) if isinstance(fit.guide, NormalGuide) else None
    return found if ties is None else dataclasses.replace(found, tied=ties.share, tied_pair=ties.pair)


def judge_moments(moments: Moments, num_draws: int) -> Reliability:
    """The verdict on moments of `num_draws` draws."""
    threshold = k_threshold(num_draws)
    k_weights, k_hat, tail = moments.k_weights, moments.k_weights, ""
    if len(moments.k) and k_weights > -math.inf:
        worst = int(moments.k.nan_to_num(nan=math.inf).argmax())
        chance = math.sqrt(2.0 * math.log(len(moments.k))) * (1.0 + threshold) / math.sqrt(tail_length(num_draws))
        if (k := float(moments.k[worst]) - chance) > k_weights:
            k_hat, tail = k, moments.names[worst]

    def verdict(reliable: bool, quantity: str, number: str, error: float, stderr: float, reason: str) -> Reliability:
        return Reliability(reliable, k_hat, k_weights, threshold, quantity, number, error, stderr, num_draws, reason)

    if not k_weights <= threshold:
        reason = f"k-hat {k_weights:.2g} of the importance weights is above {threshold:.2g}: the guide is far from the"
        return verdict(False, "k-hat", "", k_weights, math.nan, f"{reason} posterior")
    said = f"by importance weights (k-hat {k_hat:.2g})"
    if not len(moments.k):
        return verdict(True, "k-hat", "", k_weights, math.nan, f"k-hat {k_weights:.2g}")
    shift, bend = moments.shift, moments.log_ratio
    off = (shift.abs() + moments.shift_error) / _SHIFT
    wide = (bend.abs() + moments.log_ratio_error) / math.log(_RATIO)
    i, j = int(off.argmax()), int(wide.argmax())
    if float(wide[j]) >= float(off[i]):
        ratio, stderr = math.exp(float(bend[j])), float(moments.log_ratio_error[j])
        found = ("sd", moments.names[j], ratio, ratio * stderr)
        text = f"the sd of `{moments.names[j]}` is {1 / ratio:.2f} times the guide's, {said}"
        worst_part = float(wide[j])
    else:
        value, stderr = float(shift[i]), float(moments.shift_error[i])
        found = ("mean", moments.names[i], value, stderr)
        side = "below" if value > 0 else "above"
        text = f"the mean of `{moments.names[i]}` is {abs(value):.2f} sds {side} the guide's, {said}"
        worst_part = float(off[i])
    if worst_part > 1.0:
        return verdict(False, *found, text)
    if not k_hat <= threshold:
        reason = f"the tail of `{tail}` may reach beyond the guide's (k-hat {k_hat:.2g} of its square)"
        return verdict(False, "k-hat", tail, k_hat, math.nan, reason)
    means, sds = float(shift.abs().max()), math.expm1(float(bend.abs().max()))
    reason = f"means within {means:.2f} sds, sds within {sds:.0%}, {said}"
    return verdict(True, *found, reason)
