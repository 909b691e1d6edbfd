"""The gap between evidence and bound, and its parts: the guide's family, and its network."""

from __future__ import annotations

__all__ = ["inference_gap"]

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigurationError
from ..options import check_count
from ..seeding import derive_seed
from .elbo_terms import elbo_terms
from .estimate import Estimate
from .gap.local import local_gaps
from .gap.paired import gaps_of
from .gap_result import InferenceGap
from .log_evidence import log_evidence
from .weights.chunking import most_bytes
from .weights.importance import has_own_weights, importance_weights
from .weights.kept_draws import KeptDraws
from .weights.pareto import k_threshold, said_of_k_hats
from .weights.scoring import Scored, random_sites, refuse_point_masses, scored


def inference_gap(
    fit: Any,
    data: Any = None,
    *,
    test: Any = None,
    seed: int = 0,
    num_particles: int = 1_000,
    steps: int = 1_000,
    num_data: int | None = 200,
    evidence: Estimate | None = None,
    max_bytes: int | None = None,
) -> InferenceGap:
    r"""How far the bound is from the evidence, and why, in nats, totals over the data.

    .. math:: \underbrace{\log p(x) - \mathcal L[q]}_{\text{total}} =
       \underbrace{\log p(x) - \mathcal L[q^*]}_{\text{approximation}} +
       \underbrace{\mathcal L[q^*] - \mathcal L[q]}_{\text{amortization}}, \qquad
       \mathcal L[q] = \sum_n \mathbb E_{q_n} \log \frac{p(x_n, z)}{q_n(z)}

    with :math:`q_n` what the guide draws the latents of datum n from, and :math:`q^*_n` the best distribution of the
    same family: its parameters are optimised for each datum by itself, from those that the network set, with the
    model's held. Parameters that do not depend on any of the guide's (a scale fixed to one) belong to the family.

    A guide of global latents sets nothing for a datum: all of its gap is approximation. Where a guide draws global
    latents and local ones, the gap is one number. The evidence is estimated by importance weights of the guide's own
    draws or those of :math:`q^*`, whichever have the better k-hats; where neither are good, the total and approximation
    are printed as unreliable. The amortization gap needs no evidence.

    Args:
        fit: the fit to score.
        data: what to score it on; the training data by default.
        test: data that the fit has not seen, to compare the amortization gap on.
        seed: of all draws, and of the data chosen.
        num_particles: draws per datum for bounds and evidence, at least two.
        steps: of the optimisation, at most; it ends where 50 steps at its lowest rate gain next to nothing.
        num_data: score so many data, drawn at random, if there are more (each of `data` and `test`); None for all. A
            guide with parameters per datum, or global latents, is scored on all.
        evidence: a better estimate of the evidence of the same data, all of them, such as by annealed importance
            sampling; with local latents, its details have ``per_datum`` and ``stderr_per_datum`` ``(N,)``.
        max_bytes: memory of one piece, as in :func:`log_evidence`.

    Returns:
        An :class:`InferenceGap`; its parts are Estimates, whose standard errors are those of the draws, paired draw by
        draw. Details of each part, where the data have weights of their own: ``per_datum``, ``stderr_per_datum``
        ``(N,)``, ``rows`` (the indices of the data chosen), and of the parts that the evidence is in ``k_hat`` and
        ``unreliable``; of `amortization` also ``steps``.

    Raises:
        ModelError: if a latent's guide is a point mass, or its local distributions have no parameters to optimise, or
            they depend on the draws of other latents.
        DataError: if the data do not fit the model, or there are none.
        ConfigurationError: if a count is too small, or `evidence` is of other data.

    Reference: C. Cremer, X. Li, D. Duvenaud, "Inference suboptimality in variational autoencoders", ICML 2018,
    https://arxiv.org/abs/1801.03558.

    Example:
        >>> inference_gap(fit, x_train, test=x_test).amortization.per_datum  # doctest: +SKIP
        Estimate(2.26 +- 0.01)
    """
    num_particles = check_count("num_particles", num_particles, least=2)
    steps = check_count("steps", steps)
    num_data = None if num_data is None else check_count("num_data", num_data)
    options = _Options(seed, num_particles, steps, num_data, max_bytes)
    found = _gap(fit, data, options, evidence)
    if test is None:
        return found
    other = _gap(fit, test, options, None)
    if found.amortization is None or other.amortization is None:
        return replace(found, test=other)
    return replace(found, test=other, generalization=_generalization(found.amortization, other.amortization))


@dataclass(frozen=True)
class _Options:
    """As :func:`inference_gap` was given them."""

    seed: int
    num_particles: int
    steps: int
    num_data: int | None
    max_bytes: int | None


def _gap(fit: Any, data: Any, options: _Options, evidence: Estimate | None) -> InferenceGap:
    with scored(fit, data, draw_discrete=True) as pair:
        refuse_point_masses(pair.structure, "inference_gap")
        local = [pair.structure.sites[name].local for name in random_sites(pair.structure)]
        if local and has_own_weights(pair):
            return _split(pair, options, evidence)
    return _whole(fit, data, options, evidence, mixed=any(local))


def _split(pair: Scored, options: _Options, evidence: Estimate | None) -> InferenceGap:
    """Every datum has its own weights and its own distributions."""
    size, rows = pair.size, torch.arange(pair.size)
    if options.num_data is not None and options.num_data < size and pair.sliceable:
        generator = torch.Generator().manual_seed(derive_seed(options.seed, "data"))
        rows = torch.randperm(size, generator=generator, device="cpu")[: options.num_data].sort().values
        pair.take(rows)
    memory = most_bytes(options.max_bytes, pair.device)
    found = local_gaps(
        pair, seed=options.seed, num_particles=options.num_particles, steps=options.steps, max_bytes=memory
    )
    gaps, refined = found.gaps, found.refined
    threshold = k_threshold(options.num_particles)
    said: dict[str, Any]
    if evidence is None:
        i = min((0, 1), key=lambda i: (int((~(gaps.k_hat[i] <= threshold)).sum()), float(gaps.evidence_error[i].sum())))
        known, error, between = gaps.evidence[i], gaps.evidence_error[i], gaps.gap_error[i]
        largest = float(gaps.k_hat[i].nan_to_num(nan=math.inf).max())
        said = {"k_hat": largest, "pareto_k": gaps.k_hat[i], "unreliable": said_of_k_hats(gaps.k_hat[i], threshold)}
    else:
        known, error, said = _given(evidence, size, rows)
        between = [error + bound for bound in gaps.bound_error]

    def estimate(values: Tensor, errors: Tensor, constant: float = 0.0, **details: Any) -> Estimate:
        details |= {"per_datum": values, "stderr_per_datum": errors.sqrt(), "rows": rows}
        return Estimate(float(values.sum()) + constant, float(errors.sum().sqrt()), len(rows), details)

    bound, best = gaps.bounds
    return InferenceGap(
        total=estimate(known - bound, between[0], **said),
        approximation=estimate(known - best, between[1], **said),
        amortization=estimate(best - bound, gaps.between_error, steps=refined.steps),
        bound=estimate(bound, gaps.bound_error[0], found.constant),
        log_evidence=estimate(known, error, found.constant, **said),
        data_size=size,
        converged=refined.converged,
        reason="" if refined.converged else _not_converged(refined.steps, refined.gain),
    )


def _not_converged(steps: int, gain: float) -> str:
    return (
        f"the best guide was not found: the last of {steps:,} steps still gained {gain:.2g} nats per datum, which are "
        f"counted as approximation; take more `steps`"
    )


def _given(evidence: Estimate, size: int, rows: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """What a given estimate says of each datum, its squared error, and what it says against itself."""
    per_datum, stderr = evidence.details.get("per_datum"), evidence.details.get("stderr_per_datum")
    if per_datum is None or len(per_datum) != size:
        held = "none per datum" if per_datum is None else f"{len(per_datum):,}"
        raise ConfigurationError(
            f'`evidence` must hold an estimate for each of the {size:,} data in `details["per_datum"]`, got {held}. '
            f"Pass what `log_evidence(fit, data)` or another estimator returns for the same data."
        )
    known = torch.as_tensor(per_datum, dtype=torch.float64)[rows]
    error = torch.zeros_like(known) if stderr is None else torch.as_tensor(stderr, dtype=torch.float64)[rows].square()
    said: dict[str, Any] = {n: evidence.details[n] for n in ("k_hat", "unreliable") if n in evidence.details}
    return known, error, said


def _whole(fit: Any, data: Any, options: _Options, evidence: Estimate | None, mixed: bool) -> InferenceGap:
    """The data share their weights."""
    common = {"seed": options.seed, "max_bytes": options.max_bytes}
    kept = KeptDraws()
    weights, size = importance_weights(
        fit,
        data,
        "inference_gap",
        num_particles=options.num_particles,
        num_local_particles=None,
        kept=kept,
        **common,  # type: ignore[arg-type]
    )
    if not weights.joint:  # nothing is drawn: the bound is the evidence
        known = log_evidence(fit, data, num_particles=options.num_particles, **common)  # type: ignore[arg-type]
        nothing = Estimate(0.0, 0.0, size)
        return InferenceGap(nothing, nothing, None, known, known, size, reason=_NOTHING_DRAWN)
    threshold = k_threshold(weights.num_particles)
    k_hat = float(weights.pareto_k)
    said: dict[str, Any] = {"k_hat": k_hat, "unreliable": said_of_k_hats(weights.pareto_k.cpu(), threshold)}
    if weights.exact:
        said = {}
    known = Estimate(float(weights.log_evidence) + weights.constant, float(weights.variance.sqrt()), size, said)
    if weights.num_local_particles == 1 and not weights.exact:
        gaps = gaps_of(kept.log_weights.unsqueeze(-1))
        bound = Estimate(float(gaps.bounds[0]), float(gaps.bound_error[0].sqrt()), size)
        stderr = float(gaps.gap_error[0][0].sqrt())
    else:
        bound = elbo_terms(fit, data, num_particles=options.num_particles, **common)  # type: ignore[arg-type]
        stderr = math.hypot(known.stderr, bound.stderr)
    if evidence is not None:
        known, said, stderr = evidence, dict(evidence.details), math.hypot(evidence.stderr, bound.stderr)
    total = Estimate(known.value - bound.value, stderr, size, said)
    return InferenceGap(total, None if mixed else total, None, bound, known, size, reason=_MIXED if mixed else "")


_NOTHING_DRAWN = "all latents are summed out exactly"
_MIXED = "the gap is not split: the guide draws global latents beside local ones"


def _generalization(train: Estimate, test: Estimate) -> Estimate:
    """The difference of two means over data, each with the spread of its data."""
    spread = 0.0
    for part in (train, test):
        values = part.details["per_datum"]
        spread += float(values.var() / len(values)) if len(values) > 1 else math.nan
    return Estimate(test.per_datum.value - train.per_datum.value, math.sqrt(spread), 1)
