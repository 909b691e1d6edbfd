"""Densities of single trace nodes: masked log probabilities, closed-form KLs, sums over plates."""

from __future__ import annotations

__all__ = ["analytic_kl", "dimensions", "known_log_prob", "log_prob_of", "reduce_to_data"]

import math
from typing import Any

import torch
from pyro.distributions import Delta, MaskedDistribution
from torch.distributions import Distribution, Independent, kl_divergence

from ..supports.membership import inside
from .double_precision import cancels, in_double


def log_prob_of(node: Any, masked: bool = True) -> torch.Tensor:
    """The unscaled log density of a trace node, over its batch shape.

    Args:
        node: the message of a sample statement. With ``node["scored"]`` its (masked) value is known; with
            ``node["guarded"]`` the value may lie outside the support, where many a distribution returns a number of its
            own, and the density is zero; with ``node["precise"]`` a density whose terms cancel is taken in float64.
        masked: whether masked entries are zero.
    """
    if masked and "scored" in node:
        known: torch.Tensor = node["scored"]
        return known
    log_prob = _precisely(node) if node.get("precise") else None
    if log_prob is None:
        log_prob = node["fn"].log_prob(node["value"], *node["args"], **node["kwargs"])
    if node.get("guarded"):
        log_prob = _inside_only(node["fn"], node["value"], log_prob)
    mask = node["mask"]
    if mask is None or mask is True or not masked:
        return log_prob
    if mask is False:
        return torch.zeros_like(log_prob)
    return torch.where(mask, log_prob, log_prob.new_zeros(()))


def known_log_prob(node: Any) -> torch.Tensor | None:
    """:func:`log_prob_of`, or None where distribution and value do not go together."""
    try:
        return log_prob_of(node)
    except (RuntimeError, ValueError, IndexError, NotImplementedError):
        return None


def _precisely(node: Any) -> torch.Tensor | None:
    """The log density by way of float64, in the value's own number type; None where nothing can cancel."""
    fn, value = node["fn"], node["value"]
    if not cancels(fn):
        return None
    kind = value.dtype if value.is_floating_point() else torch.get_default_dtype()
    value = value.double() if value.is_floating_point() else value
    log_prob: torch.Tensor = in_double(fn).log_prob(value, *node["args"], **node["kwargs"])
    return log_prob.to(kind)


def _inside_only(fn: Any, value: torch.Tensor, log_prob: torch.Tensor) -> torch.Tensor:
    known = inside(fn, value)
    if known is None:
        return log_prob
    good, joint = known
    entries = max(fn.event_dim - joint, 0)
    if entries:
        good = good.flatten(good.dim() - entries).all(-1)
    return torch.where(good, log_prob, log_prob.new_full((), -math.inf))


def analytic_kl(guide_node: Any, node: Any) -> torch.Tensor | None:
    """The closed-form KL, or None: there is none, a site is masked, or the guide's site is a `Delta`.

    A `Delta` may carry the log Jacobian of a transform, which its KL would drop (Pyro's own does).
    """
    q, p = guide_node["fn"], node["fn"]
    if node["mask"] is not None or guide_node["mask"] is not None or _has(q, Delta):
        return None
    if _has(q, MaskedDistribution) or _has(p, MaskedDistribution):
        return None
    try:
        if node.get("precise") and cancels(q) and cancels(p):
            return kl_divergence(in_double(q), in_double(p)).to(guide_node["value"].dtype)
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def _has(fn: Distribution, kind: type) -> bool:
    """Whether a distribution, or one that it wraps, is of this kind."""
    while hasattr(fn, "base_dist") and not isinstance(fn, kind):
        fn = fn.base_dist
    return isinstance(fn, kind)


def reduce_to_data(term: torch.Tensor, data_dim: int | None, site: Any) -> torch.Tensor:
    """Sum a site's log density over every batch dimension but the data plate's: ``(B,)``, or a scalar."""
    if data_dim is None:
        return term.sum() if term.dim() else term
    if term.dim() < -data_dim:
        size = next(frame.size for frame in site["cond_indep_stack"] if frame.dim == data_dim)
        term = term.expand((size,) + (1,) * (-data_dim - 1)) if term.dim() == 0 else term
    others = [dim for dim in range(-term.dim(), 0) if dim != data_dim]
    return term.sum(others) if others else term


def dimensions(node: Any, guide_node: Any, analytic: bool) -> dict[str, torch.Tensor]:
    """Terms per event dimension, for distributions whose event is one vector of independent coordinates."""
    q, p = guide_node["fn"], node["fn"]
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return {}
    if len(q.event_shape) != 1 or q.base_dist.event_shape or p.base_dist.event_shape:
        return {}
    value = node["value"]
    out = {"log_p_dims": p.base_dist.log_prob(value), "log_q_dims": q.base_dist.log_prob(value)}
    if analytic:
        try:
            out["kl_dims"] = kl_divergence(q.base_dist, p.base_dist)
        except NotImplementedError:
            pass
    mask = node["mask"]
    if mask is None or mask is True:
        return out
    counts = torch.as_tensor(mask, device=value.device).unsqueeze(-1)
    return {name: torch.where(counts, term, term.new_zeros(())) for name, term in out.items()}
