"""Score-function terms for draws that carry no pathwise gradient, with leave-one-out baselines."""

from __future__ import annotations

__all__ = ["leave_one_out", "score_function_surrogate", "without_pathwise"]

import math

import torch

from ..pair.site_terms import SiteTerms, Terms


def without_pathwise(terms: Terms) -> list[SiteTerms]:
    """Sites whose draws need the score function."""
    return [site for site in terms.sites.values() if not site.reparameterized and site.log_q is not None]


def leave_one_out(values: torch.Tensor) -> torch.Tensor:
    """``(K, …)``: for each particle the mean over the *other* particles (zero for K = 1)."""
    count = values.shape[0]
    if count == 1:
        return torch.zeros_like(values)
    return (values.sum(0, keepdim=True) - values) / (count - 1)


def score_function_surrogate(
    terms: Terms, sites: list[SiteTerms], local: torch.Tensor | None, shared: torch.Tensor | None
) -> torch.Tensor:
    r"""A scalar whose gradient is ``E[sum_i grad log q(z_i) (f_i - baseline_i)]``, Rao-Blackwellised over the data
    plate.

    A local draw of datum `b` only influences the terms of `b`; a global draw influences all of them, and so may a local
    one that a global site comes after (`Structure.is_coupled`). The baseline is
    the leave-one-out mean over particles, which is independent of the draw, so the estimator stays unbiased (Mnih &
    Rezende, Variational Inference for Monte Carlo Objectives, 2016, https://arxiv.org/abs/1602.06725).

    Args:
        terms: the terms.
        sites: the sites without a pathwise gradient.
        local: ``(K, B)`` learning signal per datum, neither scaled nor weighted, or None.
        shared: ``(K,)`` learning signal of the global terms, or None.
    """
    total = None
    local = None if local is None else terms.weighted(local)
    coupled = terms.structure.is_coupled
    for site in sites:
        score = site.log_q if site.score is None else site.score
        assert score is not None
        if site.local and not coupled:
            assert local is not None
            signal = terms.scale * (local - leave_one_out(local)).detach()
            part = (score * signal).sum(-1).mean()
        else:
            log_q = score.sum(-1) if site.local else score
            signal = terms.share * shared if shared is not None else torch.zeros_like(log_q)
            if local is not None:
                signal = signal + terms.scale * local.sum(-1)
            part = (log_q * (signal - leave_one_out(signal)).detach()).mean()
        total = part if total is None else total + part
    assert total is not None
    return total


def log_mean_exp(log_weights: torch.Tensor) -> torch.Tensor:
    """``log (1/K) sum_k exp(.)`` over the first dimension."""
    return torch.logsumexp(log_weights, 0) - math.log(log_weights.shape[0])
