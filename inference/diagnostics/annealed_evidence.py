r"""The log evidence of annealed particles' weights, with its error.

.. math:: \mathbb E[w] = Z \;\Rightarrow\; \mathbb E[\log \bar w] \le \log Z, \qquad
   \mathbb E[w'] = 1 / Z \;\Rightarrow\; \mathbb E[-\log \bar w'] \ge \log Z

for particles on their way from the beginning of a path to the posterior (w), and back (w').
"""

from __future__ import annotations

__all__ = ["annealed_estimate", "plain_bound"]

import math
from typing import Any

from torch import Tensor

from .estimate import Estimate
from .weights.importance import WeightSummary
from .weights.pareto import k_threshold

_NORMAL = 1.959964  # the quantile that an error is multiplied by: with few groups that of Student's law is larger


def annealed_estimate(log_weights: Tensor, size: int, *, groups: int = 0, back: bool = False) -> Estimate:
    """The evidence, and what its error is made of.

    Args:
        log_weights: of all particles, ``(K,)``.
        size: how many data the evidence is of.
        groups: of particles that were resampled among themselves, and follow one another; 0 for independent ones.
        back: whether the weights are of particles on their way back, whose mean is one over the evidence.

    Returns:
        The estimate, without the bias of the logarithm. Details: ``bound``, with it (a lower bound in expectation, of
        particles on their way back an upper one), ``bias``, ``ess``, ``num_particles``, ``groups``; for independent
        particles also ``k_hat``, and ``unreliable`` where that is above its threshold.
    """
    log_weights, count = log_weights.detach().double().cpu(), len(log_weights)
    effective = float((2.0 * log_weights.logsumexp(0) - (2.0 * log_weights).logsumexp(0)).exp())
    details: dict[str, Any] = {"num_particles": count, "groups": groups, "exact": False}
    if groups:
        means = log_weights.reshape(groups, -1).logsumexp(-1) - math.log(count // groups)
        bound = float(means.logsumexp(0)) - math.log(groups)
        squares = float((2.0 * (means - means.logsumexp(0))).exp().sum())
        variance = max(groups * squares - 1.0, 0.0) / (groups - 1)
        bias, stderr = -0.5 * variance, math.sqrt(variance) * _student(groups - 1) / _NORMAL
        reason = "one group of particles has most of the weight" if groups * squares > 0.5 * groups else ""
    else:
        summary = WeightSummary(count)
        summary.update(log_weights)
        found = summary.finish()
        bound, bias, stderr = float(found.log_mean), float(found.bias), math.sqrt(float(found.variance))
        effective = float(found.ess)
        k = float(found.pareto_k)
        details["k_hat"] = k = math.inf if math.isnan(k) else k
        reason = "" if k <= k_threshold(count) else f"k-hat {k:.2g}"
    sign = -1.0 if back else 1.0
    details |= {"ess": effective, "bound": sign * bound, "bias": sign * bias, "unreliable": reason}
    return Estimate(sign * (bound - bias), stderr, size, details)


def plain_bound(estimate: Estimate) -> Estimate:
    """The same with the plain bound as its value."""
    return Estimate(estimate.details["bound"], estimate.stderr, estimate.n, estimate.details)


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's law, by its expansion in one over the degrees of freedom."""
    z = _NORMAL
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    return z + first / freedom + second / freedom**2
