"""The evidence lower bound, taken apart: reconstruction, and the KL of each latent and dimension."""

from __future__ import annotations

__all__ = ["elbo_terms"]

import math
from typing import Any

import torch
from torch import Tensor

from ..options import check_count
from ..pair.site_terms import SiteTerms
from ..pair.sites import Structure
from .estimate import Estimate
from .weights.chunking import most_bytes
from .weights.pieces import DependsOnData, pieces, plan
from .weights.scoring import Scored, random_sites, scored

RECONSTRUCTION = "reconstruction"


def elbo_terms(
    fit: Any, data: Any = None, *, seed: int = 0, num_particles: int = 100, max_bytes: int | None = None
) -> Estimate:
    r"""The evidence lower bound and its parts, in nats, totals over the ``N`` data.

    .. math:: \text{ELBO} = \underbrace{\sum_n \mathbb E_q \log p(x_n \mid z)}_{\text{reconstruction}} -
       \sum_{\text{latents}} \underbrace{\mathbb E_q \big[\log q(z) - \log p(z)\big]}_{\text{KL}}

    A KL is analytic where the pair of distributions has one, else the mean over draws. What cannot be told apart is one
    group, ``"a*b"``: latents that are images of one joint draw (full-covariance and flow guides). Latents that are
    summed out belong to the reconstruction. The KL of a point mass is its ``-log p``.

    Args:
        fit: the fit to score.
        data: what to score it on; the training data by default.
        seed: of the draws.
        num_particles: draws of the latents per datum.
        max_bytes: memory of one piece, as in :func:`log_evidence`.

    Returns:
        The bound, its standard error over draws. Details: ``reconstruction`` (an `Estimate`), ``kl`` (an `Estimate` per
        latent), ``kl_per_dimension`` (``(L,)`` per latent whose dimensions are independent), ``analytic`` (bool per
        latent), ``per_datum`` with ``bound`` ``(N,)``, ``reconstruction`` ``(N,)``, ``kl`` (``(N,)`` per local latent)
        and ``kl_per_dimension`` (``(N, L)`` per local latent), ``num_particles``.

    Raises:
        DataError: if the data do not fit the model, or there are none.
        ConfigurationError: if a count is not positive.

    Reference: M. Hoffman, M. Johnson, "ELBO surgery", 2016,
    http://approximateinference.org/accepted/HoffmanJohnson2016.pdf.

    Example:
        >>> elbo_terms(fit).details["kl"]["z"].per_datum  # doctest: +SKIP
        Estimate(25.31 +- 0.02)
    """
    num_particles = check_count("num_particles", num_particles)
    with scored(fit, data) as pair:
        memory = most_bytes(max_bytes, pair.device)
        if not random_sites(pair.structure):
            num_particles = 1  # every term is exact
        slices = pair.sliceable and not any(s.enumerated and not s.local for s in pair.structure.sites.values())
        try:
            sums = _accumulate(pair, seed, num_particles, memory, slices)
        except DependsOnData:
            sums = _accumulate(pair, seed, num_particles, memory, False)
        return sums.estimate()


class _Sums:
    """Sums over draws of every part: totals over data ``(K,)``, and means per datum and per dimension."""

    def __init__(self, size: int, num_particles: int, structure: Structure) -> None:
        self.size, self.num_particles = size, num_particles
        self.structure, self.groups, self.random = structure, _groups(structure), bool(random_sites(structure))
        self.names = [RECONSTRUCTION, *dict.fromkeys(self.groups.values())]
        self.totals: dict[str, list[Tensor]] = {name: [] for name in self.names}
        self.per_datum: dict[str, Tensor] = {}
        self.per_dimension: dict[str, Tensor] = {}
        self.analytic = dict.fromkeys(self.names[1:], True)

    def start(self, particles: int) -> None:
        for totals in self.totals.values():
            totals.append(torch.zeros(particles, dtype=torch.float64))

    def add(self, site: SiteTerms, rows: slice, first: bool) -> None:
        seen = site.kind in ("observed", "marginal")
        name = RECONSTRUCTION if seen else self.groups[site.name]
        if not seen and site.kl is None:
            self.analytic[name] = False
        value = (site.log_ratio if seen else -site.log_ratio).double().cpu()
        if site.local:
            self.totals[name][-1] += value.sum(1)
            per_datum = self.per_datum.setdefault(name, torch.zeros(self.size, dtype=torch.float64))
            per_datum[rows] += value.sum(0) / self.num_particles
        elif first:
            self.totals[name][-1] += value
        self._add_dimensions(site, name, rows, first)

    def _add_dimensions(self, site: SiteTerms, name: str, rows: slice, first: bool) -> None:
        value = site.kl_dims
        if value is None and site.log_p_dims is not None and site.log_q_dims is not None:
            value = site.log_q_dims - site.log_p_dims
        if value is None or not (site.local or first):
            return
        value = value.double().cpu().sum(0) / self.num_particles  # (plates…, L)
        data_dim = self.structure.sites[site.name].data_dim
        kept = () if data_dim is None else (value.dim() + data_dim - 1,)
        others = [dim for dim in range(value.dim() - 1) if dim not in kept]
        value = value.sum(others) if others else value
        shape = (self.size, value.shape[-1]) if site.local else value.shape
        total = self.per_dimension.setdefault(name, torch.zeros(shape, dtype=torch.float64))
        if site.local:
            total[rows] += value
        else:
            total += value

    def estimate(self) -> Estimate:
        totals = {name: torch.cat(parts) for name, parts in self.totals.items()}
        kl = {name: totals[name] for name in self.names[1:]}
        bound = totals[RECONSTRUCTION] - sum(kl.values(), torch.zeros(()))
        kl_datum = {name: self.per_datum[name] for name in kl if name in self.per_datum}
        reconstruction_datum = self.per_datum.get(RECONSTRUCTION, torch.zeros(self.size, dtype=torch.float64))
        local = {name for name in self.per_dimension if name in self.per_datum}
        details: dict[str, Any] = {
            RECONSTRUCTION: self._mean(totals[RECONSTRUCTION]),
            "kl": {name: self._mean(value) for name, value in kl.items()},
            "kl_per_dimension": {n: v.sum(0) if n in local else v for n, v in self.per_dimension.items()},
            "analytic": self.analytic,
            "num_particles": self.num_particles,
            "per_datum": {
                "bound": reconstruction_datum - sum(kl_datum.values(), torch.zeros(())),
                RECONSTRUCTION: reconstruction_datum,
                "kl": kl_datum,
                "kl_per_dimension": {name: self.per_dimension[name] for name in local},
            },
        }
        mean = self._mean(bound)
        return Estimate(mean.value, mean.stderr, self.size, details)

    def _mean(self, draws: Tensor) -> Estimate:
        k = len(draws)
        if not self.random or (k > 1 and bool((draws == draws[0]).all())):
            return Estimate(float(draws[0]), 0.0, self.size)
        return Estimate(float(draws.mean()), float(draws.std() / k**0.5) if k > 1 else math.nan, self.size)


def _accumulate(pair: Scored, seed: int, num_particles: int, max_bytes: int, slices: bool) -> _Sums:
    options: dict[str, Any] = {"analytic_kl": True, "per_dimension": True}
    chunks = plan(pair, num_particles, max_bytes, slices=slices, **options)
    sums = _Sums(pair.size, num_particles, pair.structure)
    for piece in pieces(pair, chunks, seed=seed, **options):
        if piece.first:
            sums.start(piece.particles)
        for site in piece.terms.sites.values():
            sums.add(site, piece.rows, piece.first)
    return sums


def _groups(structure: Structure) -> dict[str, str]:
    """To which KL each latent or auxiliary site belongs. An autoguide's latent is the image of an auxiliary draw."""
    latents, auxiliary = structure.select("latent"), {site.name for site in structure.select("auxiliary")}
    images = [site.name for site in latents if site.guide_distribution == "Delta"]
    groups = {site.name: site.name for site in latents} | {name: name for name in auxiliary}
    own = {name for name in images if f"{name}_unconstrained" in auxiliary}
    groups.update({f"{name}_unconstrained": name for name in own})
    joint_images = [name for name in images if name not in own]
    joint_auxiliary = sorted(auxiliary - {f"{name}_unconstrained" for name in own})
    if joint_images and joint_auxiliary:
        groups.update(dict.fromkeys([*joint_images, *joint_auxiliary], "*".join(joint_images)))
    return {name: group for name, group in groups.items() if structure.sites[name].enumerated != "model"}
