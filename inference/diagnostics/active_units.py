"""How many latent dimensions the data move."""

from __future__ import annotations

__all__ = ["active_units"]

from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError
from ..options import check_count
from ..pair.terms import evaluate
from .estimate import Estimate
from .weights.chunking import chunk_seed, most_bytes
from .weights.pieces import plan
from .weights.scoring import scored


def active_units(
    fit: Any,
    data: Any = None,
    *,
    seed: int = 0,
    num_particles: int = 100,
    threshold: float = 1e-2,
    max_bytes: int | None = None,
) -> Estimate:
    r"""The number of units ``u`` of the local latents whose guide mean varies over the data,

    .. math:: A_u = \operatorname{Var}_x \big( \mathbb E_{q(u \mid x)}[u] \big) > 10^{-2} .

    The inner mean is an average of ``K`` draws, and the variance that this adds, :math:`\operatorname{Var}(u \mid x) /
    K`, is subtracted, so that any guide can be scored. Values that the model masks do not count.

    Args:
        fit: the fit to score.
        data: what to score it on; the training data by default. At least two data.
        seed: of the draws.
        num_particles: ``K``, at least 2.
        threshold: on ``A_u``, in squared units of the latent.
        max_bytes: memory of one piece, as in :func:`log_evidence`.

    Returns:
        The count. Its standard error is that of a sum of Bernoulli variables "``A_u`` is above the threshold", by the
        normal approximation of each ``A_u`` over data: 0 when every unit is clear. Details, per local latent:
        ``variance`` and ``variance_stderr`` ``(U,)`` (the event shape and other plates, flattened), ``active`` (bool),
        ``count``.

    Raises:
        ModelError: if the model has no continuous local latent.
        DataError: if the data do not fit the model, or there are none.
        ConfigurationError: if a count is too small.

    Reference: Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, section 5.2,
    https://arxiv.org/abs/1509.00519.

    Example:
        >>> active_units(fit).details["count"]  # doctest: +SKIP
        {'z': 19}
    """
    num_particles = check_count("num_particles", num_particles, least=2)
    with scored(fit, data) as pair:
        latents = pair.structure.select("latent", local=True)
        names = [site.name for site in latents if not site.enumerated and not site.support.is_discrete]
        if not names:
            raise ModelError('`active_units` needs a continuous latent in the plate "data"; this model has none.')
        check_count("len(data)", pair.size, least=2)
        memory = most_bytes(max_bytes, pair.device)
        chunks = plan(pair, num_particles, memory, slices=pair.sliceable)
        means: dict[str, list[Tensor]] = {name: [] for name in names}
        counts: dict[str, list[Tensor]] = {name: [] for name in names}
        noises: dict[str, list[Tensor]] = {name: [] for name in names}
        for j, rows in chunks.over_data():
            batch = pair.rows(rows)
            draws: dict[str, list[Tensor]] = {name: [] for name in names}
            for i, k in chunks.over_particles():
                terms = evaluate(pair.program, batch, num_particles=k, seed=chunk_seed(seed, i, j))
                for name in names:
                    draws[name].append(_by_datum(terms.values[name], pair.structure.sites[name]).double())
            for name in names:
                mask = terms.sites[name].mask if name in terms.sites else None
                counts[name].append(_counted(terms.values[name], mask, pair.structure.sites[name]))
                every = torch.cat(draws[name])  # (K, B, U)
                means[name].append(every.mean(0).cpu())
                noises[name].append((every.var(0) / num_particles).cpu())
    variance, stderr, active = {}, {}, {}
    for name in names:
        kept = torch.cat(counts[name])
        variance[name], stderr[name] = _variance(torch.cat(means[name]), torch.cat(noises[name]), kept)
        active[name] = variance[name] > threshold
    chance = {name: torch.special.ndtr((variance[name] - threshold) / stderr[name].clamp(min=1e-300)) for name in names}
    spread = sum(float((p * (1.0 - p)).sum()) for p in chance.values())
    details = {
        "variance": variance,
        "variance_stderr": stderr,
        "active": active,
        "count": {name: int(active[name].sum()) for name in names},
        "threshold": threshold,
        "num_particles": num_particles,
    }
    return Estimate(float(sum(details["count"].values())), spread**0.5, 1, details)  # type: ignore[attr-defined]


def _by_datum(value: Tensor, site: Any) -> Tensor:
    """``(K, B, U)`` from draws ``(K, plates…, event…)``."""
    dim = value.dim() - len(site.event_shape) + site.data_dim
    value = value.movedim(dim, 1)
    return value.reshape(value.shape[0], value.shape[1], -1)


def _counted(value: Tensor, mask: Tensor | None, site: Any) -> Tensor:
    """``(B, U)``: which values the model does not mask."""
    if mask is None:
        return torch.ones_like(_by_datum(value[:1], site)[0], dtype=torch.bool).cpu()
    events = (1,) * len(site.event_shape)
    return _by_datum(mask[:1].reshape((1, *mask.shape[1:], *events)).expand_as(value[:1]), site)[0].cpu()


def _variance(mean: Tensor, noise: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The variance over data of the noise-free mean, and its standard error, from the values `kept` of ``(N, U)``."""
    count, weight = kept.sum(0).double(), kept.double()
    centre = (mean * weight).sum(0) / count.clamp_min(1)
    centred = (mean - centre).square() * weight
    variance = centred.sum(0) / (count - 1).clamp_min(1)
    difference = centred - noise * weight
    spread = ((difference - difference.sum(0) / count.clamp_min(1)).square() * weight).sum(0) / (count - 1).clamp_min(1)
    return variance - (noise * weight).sum(0) / count.clamp_min(1), spread.sqrt() / count.clamp_min(1).sqrt()
