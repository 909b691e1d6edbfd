"""How well the guide covers the posterior: Pareto k-hat of a fit."""

from __future__ import annotations

__all__ = ["pareto_k"]

import math
from typing import Any

from .estimate import Estimate
from .reliability import judge_moments
from .weights.importance import importance_weights
from .weights.kept_draws import KeptDraws
from .weights.moments import weighted_moments
from .weights.pareto import k_threshold, tail_length


def pareto_k(
    fit: Any,
    data: Any = None,
    *,
    seed: int = 0,
    num_particles: int = 1_000,
    num_local_particles: int | None = None,
    max_bytes: int | None = None,
) -> Estimate:
    r"""k-hat of the weights ``p(x, z) / q(z)``: one for the fit if it has global latents, else the worst over data.

    Below 0.5 the guide is close to the posterior, to 0.7 it can be corrected by importance sampling, above it cannot;
    with ``K`` draws the threshold is :math:`\min(1 - 1/\log_{10} K, 0.7)`. It is ``-inf`` where the weights are
    constant (an exact posterior, or nothing to draw); see :func:`psis_k` for the other limits.

    Means and standard deviations need more: the tail of :math:`(h - \mathbb E h)^2 w` for every number h of the global
    latents, whose k-hat is larger where the posterior reaches farther out than the guide. The largest of these, less
    what the largest of so many may be by chance, is the value where it is above that of the weights; and what the
    weights say against the guide's means and standard deviations is printed with it. On the training data, so does what
    the fit itself found with its own draws (``fit.info["reliability"]``): the worse of the two is the value.

    Args:
        fit: the fit to score.
        data: what to score it on; the training data by default.
        seed: of the draws.
        num_particles: ``K``, draws of the latents per datum; ``K S`` where global and local latents are both drawn.
        num_local_particles: ``S``; by default the root of `num_particles`. The joint weight of a global draw then holds
            an average over ``S`` local ones, and k-hat is about the global latents.
        max_bytes: memory of one piece, as in :func:`log_evidence`.

    Returns:
        With local latents only, the largest k-hat over data; with global latents, the k-hat of the joint weights or of
        the moments. The standard error is the asymptotic one of the Pareto fit, ``(1 + k) / sqrt(M)``. Details:
        ``pareto_k`` ``(N,)`` or ``()``, of the weights alone; ``threshold``, ``share_above`` (of the data, or of the
        one k-hat), ``worst`` (index of the datum, or None), ``joint``, ``num_particles``; with global latents
        ``reliability`` (:class:`~jensen.inference.diagnostics.reliability.Reliability`) and, where that is bad,
        ``unreliable``, its reason.

    Raises:
        ModelError: if the guide of a latent is a point mass.
        DataError: if the data do not fit the model, or there are none.
        ConfigurationError: if a count is not positive.

    Reference: Y. Yao, A. Vehtari, D. Simpson, A. Gelman, "Yes, but did it work? Evaluating variational inference", ICML
    2018, https://arxiv.org/abs/1802.02538; A. Vehtari et al., "Pareto smoothed importance sampling", 2024,
    https://jmlr.org/papers/v25/19-556.html.

    Example:
        >>> pareto_k(fit).details["share_above"]  # doctest: +SKIP
        0.03
    """
    kept = KeptDraws()
    weights, _ = importance_weights(
        fit,
        data,
        "pareto_k",
        seed=seed,
        num_particles=num_particles,
        num_local_particles=num_local_particles,
        max_bytes=max_bytes,
        kept=kept,
    )
    k = weights.pareto_k.cpu()
    worst = int(k.nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf).argmax()) if k.dim() else None
    value = float(k if worst is None else k[worst])
    found = judge_moments(weighted_moments(kept.log_weights, kept.draws), weights.num_particles) if kept.draws else None
    own = (getattr(fit, "info", {}).get("reliability") if data is None else None) or {}
    of_moments = [] if found is None else [found.k_hat]
    of_fit = [] if own.get("k_hat") is None else [float(own["k_hat"])]
    value = max([value, *(k for k in (*of_moments, *of_fit) if k > value)])
    threshold = k_threshold(num_particles if not weights.joint else weights.num_particles)
    if math.isfinite(value):
        stderr = (1.0 + max(value, 0.0)) / math.sqrt(tail_length(weights.num_particles))
    else:
        stderr = 0.0 if value == -math.inf else math.nan
    details = {
        "pareto_k": k,
        "threshold": threshold,
        "share_above": float((~(k <= threshold)).double().mean()) if k.dim() else float(not value <= threshold),
        "worst": worst,
        "joint": weights.joint,
        "num_particles": weights.num_particles,
    }
    if found is not None:
        details["reliability"] = found
        if not found.reliable or not own.get("reliable", True):
            details["unreliable"] = found.reason if not found.reliable else own["reason"]
    return Estimate(value, stderr, 1, details)
