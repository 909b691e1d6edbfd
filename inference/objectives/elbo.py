r"""The evidence lower bound: by Monte Carlo, with closed-form KLs, and with discrete latents taken exactly."""

from __future__ import annotations

__all__ = ["STL", "TraceEnum_ELBO", "TraceMeanField_ELBO", "Trace_ELBO", "total"]

from typing import Any

import torch

from ..errors import ModelError
from ..pair.site_terms import SiteTerms, Terms
from ..pair.sites import Structure
from .base import Bound, Objective
from .score_function import score_function_surrogate, without_pathwise


def total(terms: Terms, local: torch.Tensor | None, shared: torch.Tensor | None) -> torch.Tensor:
    r"""``mean_k [ global_k + (N / B) sum_b local_kb ]``: the estimate for all `N` data from one mini-batch.

    Rows that have a weight count that often.
    """
    value = None
    if shared is not None:
        value = terms.share * shared.mean()
    if local is not None:
        part = terms.scale * terms.weighted(local).sum(-1).mean()
        value = part if value is None else value + part
    if value is None:
        raise ModelError("The model has no site with a density: nothing to fit. Observe a site with `obs=…`.")
    return value


def _weighted(site: SiteTerms) -> torch.Tensor:
    return site.log_ratio if isinstance(site.weight, float) and site.weight == 1.0 else site.log_ratio * site.weight


class Trace_ELBO(Objective):
    r"""The evidence lower bound by Monte Carlo, ``E_q[log p(x, z) - log q(z)]``.

    .. math:: \frac1K \sum_{k} \Big[ \log\frac{p(\theta_k)}{q(\theta_k)}
       + \frac NB \sum_{b} \log\frac{p(x_b, z_{kb} \mid \theta_k)}{q(z_{kb})} \Big], \quad (\theta_k, z_k) \sim q.

    Draws without a pathwise gradient use the score function, Rao-Blackwellised over the data plate, with leave-one-out
    baselines when `num_particles` > 1. Discrete latents that the guide lacks are summed out of the model exactly.

    Args:
        num_particles: `K`, draws of the guide per step.

    Reference: Wingate & Weber, Automated Variational Inference in Probabilistic Programming, 2013,
    https://arxiv.org/abs/1301.1299; Ranganath, Gerrish & Blei, Black Box Variational Inference, 2014.

    Example:
        >>> Trace_ELBO(num_particles=8)
        Trace_ELBO(num_particles=8)
    """

    def reduce(self, terms: Terms, weight: torch.Tensor | float) -> Bound:
        sums: dict[bool, torch.Tensor | None] = {True: None, False: None}  # local, global
        for site in terms.sites.values():
            value, so_far = _weighted(site), sums[site.local]
            sums[site.local] = value if so_far is None else so_far + value
        bound = total(terms, sums[True], sums[False])
        surrogate = bound
        if sites := without_pathwise(terms):
            surrogate = surrogate + score_function_surrogate(terms, sites, sums[True], sums[False])
        return Bound(surrogate, bound.detach(), bound.detach())


class TraceMeanField_ELBO(Trace_ELBO):
    r"""The evidence lower bound with closed-form KLs, ``E_q[log p(x | z)] - KL(q(z) || p(z))``.

    Each latent's KL is taken in closed form where its pair of distributions has one *and* that is exact: the model must
    not condition the latent on another that the guide draws later. Elsewhere, and for guides that sample through a
    transform, the Monte Carlo terms of `Trace_ELBO` are used, so both agree in expectation for every model and guide.

    Args:
        num_particles: `K`, draws of the guide per step.

    Raises:
        ModelError: if a site of the guide has no pathwise gradient (enumerate it, or use `Trace_ELBO`).

    Reference: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, https://arxiv.org/abs/1312.6114.
    """

    analytic_kl = True

    def check(self, structure: Structure) -> None:
        require_pathwise(structure, type(self).__name__)


class TraceEnum_ELBO(Trace_ELBO):
    r"""The evidence lower bound with every discrete latent taken exactly.

    Latents that only the model samples are summed out, ``log sum_y p(x, y, z)``; those that the guide samples are
    averaged, ``sum_y q(y | x) [...]``. With nothing else latent this is the exact log evidence.

    Args:
        num_particles: `K`, draws of the remaining latents per step.

    Raises:
        ModelError: if the pair has no discrete latent.

    Reference: Obermeyer et al., Tensor Variable Elimination for Plated Factor Graphs, 2019,
    https://arxiv.org/abs/1902.03210.
    """

    enumerate_guide = True

    def check(self, structure: Structure) -> None:
        if not any(
            site.enumerated or site.support.is_discrete for site in structure.sites.values() if site.kind == "latent"
        ):
            raise ModelError(
                "`TraceEnum_ELBO` sums discrete latents out, and this model has none. Use `Trace_ELBO` or "
                "`TraceMeanField_ELBO`."
            )


class STL(Trace_ELBO):
    r"""The evidence lower bound with the path-derivative gradient ("sticking the landing").

    The value is `Trace_ELBO`'s; the gradient drops the score term ``E[grad_phi log q_phi(z)] = 0`` by scoring the guide
    with detached parameters. Its variance is zero when the guide is the exact posterior.

    Args:
        num_particles: `K`, draws of the guide per step.

    Raises:
        ModelError: if a site of the guide has no pathwise gradient.

    Reference: Roeder, Wu & Duvenaud, Sticking the Landing, 2017, https://arxiv.org/abs/1703.09194.
    """

    detach_guide = True

    def check(self, structure: Structure) -> None:
        require_pathwise(structure, "STL")


def require_pathwise(structure: Structure, objective: str) -> None:
    """Refuse guides with a draw that carries no pathwise gradient."""
    for site in structure.sites.values():
        if site.kind != "observed" and not site.enumerated and not site.reparameterized:
            raise ModelError(
                f"`{objective}` needs pathwise gradients, and the guide's site `{site.name}` "
                f"({site.guide_distribution}) has none. Use `Trace_ELBO` (score function), or take a discrete site "
                "exactly "
                f'with `infer={{"enumerate": "parallel"}}` in the guide.'
            )


def configuration_of(objective: Objective, **more: Any) -> dict[str, Any]:
    return {"objective": type(objective).__name__, "num_particles": objective.num_particles, **more}
