"""Leave-one-out cross-validation by importance weights that correct for an approximate posterior."""

from __future__ import annotations

__all__ = ["loo"]

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from .weights.importance import importance_weights
from .weights.kept_draws import KeptDraws
from .weights.pareto import k_threshold, psis_k
from .weights.smoothed import smoothed_weights

_AT_ONCE = 4_000_000  # numbers whose tails are sorted together


def loo(
    fit: Any,
    data: Any = None,
    *,
    seed: int = 0,
    num_particles: int = 4_000,
    num_local_particles: int | None = None,
    max_bytes: int | None = None,
) -> Any:
    r"""The expected log predictive density of each datum given all others, in nats, a total over the ``N`` data,

    .. math:: \text{elpd} = \sum_n \log p(x_n \mid x_{-n}) \approx \sum_n \log
       \frac{\sum_k w_{nk}\, p(x_n \mid \theta_k)}{\sum_k w_{nk}}, \qquad
       w_{nk} \propto \frac{p(x, \theta_k)}{q(\theta_k)\, p(x_n \mid \theta_k)}, \quad \theta_k \sim q ,

    with the weights of each datum Pareto smoothed. The first factor, which ``arviz.loo`` has no place for, turns draws
    of the guide into draws of the posterior, as far as k-hat allows. Where the guide draws local latents, they are
    summed out: :math:`p(x_n \mid \theta_k)` is the mean of ``S`` weights :math:`p(x_n, z \mid \theta_k) / q(z)`, which
    leaves numerator and denominator right in expectation. Latents that only the model has are summed out exactly. The
    stored draws of a sampling method are already draws of the posterior, and go to ``arviz.loo``.

    Args:
        fit: a fit with global latents.
        data: the data that it was fitted to, where it does not hold them.
        seed: of the draws.
        num_particles: ``K S``, draws of the guide; all stored draws of a sampling method are taken.
        num_local_particles: ``S``; by default the root of `num_particles`, where local latents are drawn.
        max_bytes: memory of one piece, as in :func:`log_evidence`. The likelihoods themselves take ``8 K N`` bytes.

    Returns:
        ArviZ's ``ELPDData``, with each datum's value, which ``arviz.compare`` takes and ``arviz.plot_khat`` draws:
        ``elpd_loo``, ``se`` (over data), ``p_loo``, ``loo_i`` and ``pareto_k`` ``(N,)`` and their threshold ``good_k``,
        ``warning`` (whether a k-hat is above it), ``n_samples``, ``n_data_points``, ``scale`` (``"log"``). In ArviZ 1
        they are ``elpd``, ``p`` and ``elpd_i``.

    Raises:
        ModelError: if the model has no plate ``"data"`` or no global latent (then :func:`log_evidence` is each datum's
            predictive density already), or a latent's guide is a point mass.
        DataError: if the data do not fit the model, or there are none.
        ConfigurationError: if a count is not positive.

    References: M. Magnusson, M. R. Andersen, J. Jonasson, A. Vehtari, "Bayesian leave-one-out cross-validation for
    large data", ICML 2019, https://proceedings.mlr.press/v97/magnusson19a.html; A. Vehtari, A. Gelman, J. Gabry,
    "Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC", Statistics and Computing 27,
    2017, https://arxiv.org/abs/1507.04544.

    Example:
        >>> arviz.compare({"one": loo(fit), "two": loo(other)})  # doctest: +SKIP
    """
    if getattr(fit, "draws", None) is not None:
        return _of_stored_draws(fit, data)
    kept = KeptDraws(pointwise=True)
    weights, size = importance_weights(
        fit,
        data,
        "loo",
        seed=seed,
        num_particles=num_particles,
        num_local_particles=num_local_particles,
        max_bytes=max_bytes,
        kept=kept,
    )
    if not weights.joint or weights.exact:
        raise ModelError(
            "`loo` needs a global latent, which the data share; with the parameters held, each datum of this fit is "
            "independent of the others. Use `log_evidence`, on data that the fit has not seen."
        )
    log_likelihood = kept.log_likelihood
    if log_likelihood is None or log_likelihood.shape[1] != size:
        raise ModelError('`loo` needs each datum\'s likelihood: observe the data inside of `pyro.plate("data", …)`.')
    return _elpd(log_likelihood, kept.log_weights.cpu())


def _elpd(log_likelihood: Tensor, log_weights: Tensor) -> Any:
    """From ``(K, N)`` and ``(K,)``."""
    k = len(log_weights)
    posterior = smoothed_weights(log_weights).log().unsqueeze(-1)
    values, shapes, within = [], [], []
    for block in log_likelihood.split(max(1, _AT_ONCE // k), dim=1):
        ratios = log_weights.unsqueeze(-1) - block
        values.append((smoothed_weights(ratios).log() + block).logsumexp(0))
        shapes.append(psis_k(ratios))
        within.append((posterior + block).logsumexp(0))
    each, k_hat = torch.cat(values), torch.cat(shapes)
    effective = float(torch.cat(within).sum() - each.sum())
    return _elpd_data(each, k_hat, effective, k, log_likelihood, log_weights)


def _elpd_data(
    each: Tensor, k_hat: Tensor, effective: float, k: int, log_likelihood: Tensor, log_weights: Tensor
) -> Any:
    """ArviZ's own result."""
    import arviz
    import xarray

    if hasattr(arviz, "loo_approximate_posterior"):  # ArviZ 1, which makes it itself
        cells = xarray.DataArray(log_likelihood.numpy()[None], dims=("chain", "draw", "data"), name="x")
        log_p = xarray.DataArray(log_weights.numpy()[None], dims=("chain", "draw"))
        tree = xarray.DataTree.from_dict({"log_likelihood": cells.to_dataset()})
        found = arviz.loo_approximate_posterior(tree, log_p=log_p, log_q=xarray.zeros_like(log_p), pointwise=True)
        found.p = effective
        return found
    threshold = k_threshold(k)
    size = len(each)
    content = {
        "elpd_loo": float(each.sum()),
        "se": math.sqrt(size * float(each.var(correction=0))),
        "p_loo": effective,
        "n_samples": k,
        "n_data_points": size,
        "warning": not bool((k_hat <= threshold).all()),
        "loo_i": xarray.DataArray(each.numpy(), dims=("data",), name="loo_i"),
        "pareto_k": xarray.DataArray(k_hat.numpy(), dims=("data",), name="pareto_shape"),
        "scale": "log",
        "good_k": threshold,
    }
    return arviz.ELPDData(data=list(content.values()), index=list(content))


def _of_stored_draws(fit: Any, data: Any) -> Any:
    """ArviZ's own estimate, over all observed sites together."""
    import arviz
    import xarray

    num = len(next(iter(fit.draws.values())))
    found = fit.to_arviz(num=num, data=data, log_likelihood=True)
    group = found["log_likelihood"]
    names = list(group.data_vars)
    if len(names) > 1:
        total = sum(group[name] for name in names).rename("all").to_dataset()
        found["log_likelihood"] = xarray.DataTree(total) if isinstance(found, xarray.DataTree) else total
    return arviz.loo(found, pointwise=True)
