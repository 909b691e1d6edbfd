"""Importance-weighted estimate of the log evidence."""

from __future__ import annotations

__all__ = ["log_evidence"]

from typing import Any

import torch

from .estimate import Estimate
from .weights.importance import Importance, importance_weights
from .weights.pareto import k_threshold


def log_evidence(
    fit: Any,
    data: Any = None,
    *,
    seed: int = 0,
    num_particles: int = 5_000,
    num_local_particles: int | None = None,
    max_bytes: int | None = None,
) -> Estimate:
    r"""The log evidence of the data under the fitted model, in nats, a total over the ``N`` data.

    With local latents only, each datum has its own weights,

    .. math:: \sum_n \log \frac1K \sum_{k=1}^K \frac{p(x_n, z_{nk})}{q(z_{nk} \mid x_n)}, \qquad z_{nk} \sim q .

    With global latents :math:`\theta` there is one joint weight, and the local latents are nested in it,

    .. math:: \log \frac1K \sum_{k=1}^K \frac{p(\theta_k)}{q(\theta_k)} \prod_n \frac1S \sum_{s=1}^S
       \frac{p(x_n, z_{nks} \mid \theta_k)}{q(z_{nks} \mid x_n, \theta_k)} .

    Where draws of different data depend on each other, or a global site on them (a total that is observed), a weight is
    that of one draw of everything. Latents that only the model has are summed out, those that the guide enumerates are
    drawn from it; without any other latent the value is exact and its standard error 0. The estimate is a lower bound
    in expectation: it lies below the evidence by about half its variance, which grows with ``N`` while the standard
    error grows with its root. ``details["bias"]`` says how much, and a k-hat above the threshold that neither number
    can be relied on. Each row counts once, whatever weight a fit gave it.

    Args:
        fit: the fit to score.
        data: what to score it on; the training data by default.
        seed: of the draws. The same seed, data, device and `max_bytes` give the same bits; another `max_bytes` cuts
            other pieces and gives other draws from the same distribution.
        num_particles: draws of the latents per datum; ``K S`` where global and local latents are both drawn.
        num_local_particles: ``S``; by default the root of `num_particles`.
        max_bytes: memory for the tensors of one piece (not for the parameters and the data); by default 32 MiB on a
            CPU and 4 GiB on a GPU, beyond which a larger piece is not faster. The smallest piece is one particle of one
            datum (of all data, if the guide has parameters per datum). Pieces of the data are moved to the device.

    Returns:
        The estimate, its standard error by the delta method, summed over data. Details, in float64 on the CPU:
        ``per_datum`` and ``stderr_per_datum`` ``(N,)`` (absent for a joint weight), ``pareto_k`` and ``ess`` ``(N,)``
        or ``()``, ``bias`` (about how far the value is from the evidence, negative), ``constant`` (factors outside the
        plate, which the sum of ``per_datum`` lacks), ``unreliable`` (where k-hat is above its threshold at that number
        of particles: then neither value nor error can be relied on, and both are printed with it), ``exact``,
        ``num_particles``, ``num_local_particles``, ``chunks``.

    Raises:
        ModelError: if the guide of a latent is a point mass.
        DataError: if the data do not fit the model, or there are none.
        ConfigurationError: if a count or `max_bytes` is not positive.

    Reference: Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016,
    https://arxiv.org/abs/1509.00519.

    Example:
        >>> log_evidence(fit, {"x": x_test}).per_datum  # doctest: +SKIP
        Estimate(-86.76 +- 0.03)
    """
    weights, size = importance_weights(
        fit,
        data,
        "log_evidence",
        seed=seed,
        num_particles=num_particles,
        num_local_particles=num_local_particles,
        max_bytes=max_bytes,
    )
    variance = weights.variance.cpu()
    details: dict[str, Any] = {
        "bias": -0.5 * float(variance.sum()),
        "constant": weights.constant,
        "exact": weights.exact,
        "num_particles": weights.num_particles,
        "num_local_particles": weights.num_local_particles,
        "pareto_k": weights.pareto_k.cpu(),
        "ess": weights.ess.cpu(),
        "unreliable": _unreliable(weights),
        "chunks": {"particles": weights.chunks.particles, "data": weights.chunks.data} if weights.chunks else {},
    }
    if not weights.joint:
        details["per_datum"] = weights.log_mean.cpu()
        details["stderr_per_datum"] = torch.sqrt(variance)
    return Estimate(float(weights.log_mean.sum()) + weights.constant, float(variance.sum().sqrt()), size, details)


def _unreliable(weights: Importance) -> str:
    """What is to be said against the estimate: a k-hat above its threshold, of the fit or of some data."""
    threshold = k_threshold(weights.num_particles)
    above = ~(weights.pareto_k <= threshold)
    if weights.exact or not bool(above.any()):
        return ""
    if weights.joint:
        return f"k-hat {float(weights.pareto_k):.2g}"
    return f"k-hat above {threshold:.2g} for {float(above.double().mean()):.0%} of the data"
