r"""The one place that runs guide and model together and returns the terms ``log p`` and ``log q`` of every site.

For `K` particles and a mini-batch of `B` data, each term is ``(K, B)`` for a site inside the plate ``"data"`` and
``(K,)`` for any other, never scaled by ``N / B``. Particles are vectorised with :func:`torch.vmap`, so a program is
written for one draw. Everything jensen computes (bounds, gradients, evidence, diagnostics) is a reduction of these
terms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from .findings.masses import above_zero
from .particles import map_particles
from .program import Batch, Program, Structure
from .randomness.noise import Noise, NoiseLayout

__all__ = ["SiteTerms", "Terms", "evaluate"]

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class SiteTerms:
    """The terms of one site, or of a group of sites whose discrete latents were summed out.

    Attributes:
        name: the site's name; ``"a*b"`` for the group that was summed over ``a`` and ``b``.
        kind: ``"observed"``, ``"latent"``, ``"auxiliary"``, or ``"marginal"`` for such a group.
        local: whether the terms are ``(K, B)`` rather than ``(K,)``.
        log_p: log density under the model, or None (auxiliary sites).
        log_q: log density under the guide, or None (observed sites, and where `kl` replaces it).
        kl: the analytic ``KL(q || p)``, or None where it must be estimated from the draw.
        weight: what the program itself scales the site by (1 unless it uses `poutine.scale`).
        reparameterized: whether the guide's draw carries the pathwise gradient (True for observed sites).
        kl_dims, log_p_dims, log_q_dims: the same per event dimension ``(…, L)``, when asked for and available.
        score: log density of the whole draw, where a mask hides a part of `log_q`: what the score function takes, for
            masked values may be used.
        mask: ``(K, *batch shape)`` which of a latent's values count, where a mask hides some.
    """

    name: str
    kind: str
    local: bool
    log_p: torch.Tensor | None
    log_q: torch.Tensor | None
    kl: torch.Tensor | None = None
    weight: torch.Tensor | float = 1.0
    reparameterized: bool = True
    kl_dims: torch.Tensor | None = None
    log_p_dims: torch.Tensor | None = None
    log_q_dims: torch.Tensor | None = None
    score: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    @property
    def log_ratio(self) -> torch.Tensor:
        """``log p - log q`` of the draw, or ``-KL`` where that is analytic."""
        if self.kl is not None:
            return -self.kl
        if self.log_q is None:
            assert self.log_p is not None
            return self.log_p
        return -self.log_q if self.log_p is None else self.log_p - self.log_q


@dataclass(frozen=True)
class Terms:
    """All terms of `K` particles on one mini-batch.

    Attributes:
        sites: the terms, by name.
        values: the latent draws ``(K, *site shape)``, by name.
        structure: the pair's static structure.
        num_particles: `K`.
        scale: ``N / B`` as set by the `minibatch` messenger (1.0 outside of one). The terms do not contain it.
        share: the part of the global terms that this process accounts for (1 / world size in a data-parallel run).
        row_weight: ``(B,)`` how often each datum counts, for a model that names its `row_weight`; None for once. The
            terms do not contain it.
    """

    sites: dict[str, SiteTerms]
    values: Tensors
    structure: Structure
    num_particles: int
    scale: float = 1.0
    share: float = 1.0
    hooks: dict[str, Any] = field(default_factory=dict)
    row_weight: torch.Tensor | None = None

    def weighted(self, local: torch.Tensor) -> torch.Tensor:
        """Local terms ``(K, B)`` or ``(B,)``, each datum's times its weight."""
        return local if self.row_weight is None else local * self.row_weight

    def _sum(self, local: bool, part: Callable[[SiteTerms], torch.Tensor | None]) -> torch.Tensor | None:
        total: torch.Tensor | None = None
        for site in self.sites.values():
            term = part(site) if site.local == local else None
            if term is not None:
                total = term if total is None else total + term
        return total

    @property
    def log_weight_local(self) -> torch.Tensor | None:
        """``(K, B)``: the sum over local sites of ``log p - log q``, unscaled; None without local sites."""
        return self._sum(True, lambda site: site.log_ratio)

    @property
    def log_weight_global(self) -> torch.Tensor | None:
        """``(K,)``: the sum over global sites of ``log p - log q``; None without global sites."""
        return self._sum(False, lambda site: site.log_ratio)

    @property
    def log_likelihood(self) -> torch.Tensor | None:
        """``(K, B)``: the sum of the local observed (or marginalised) sites' ``log p``, unscaled."""
        return self._sum(True, lambda site: site.log_p if site.kind in ("observed", "marginal") else None)


def evaluate(
    program: Program,
    batch: Batch,
    *,
    num_particles: int = 1,
    args: tuple[Any, ...] = (),
    noise: Noise | NoiseLayout | None = None,
    seed: int | None = None,
    values: Tensors | None = None,
    analytic_kl: bool = False,
    detach_guide: bool = False,
    enumerate_guide: bool = False,
    sum_guide: bool = False,
    per_dimension: bool = False,
    hook_values: Callable[[Tensors, Structure, dict[str, Any]], Tensors] | None = None,
    share: float = 1.0,
) -> Terms:
    r"""Draw `K` particles from the guide and return every site's terms.

    Args:
        program: the bound pair.
        batch: tensors keyed by the model's argument names; `args` are positional arguments before them.
        num_particles: `K`.
        noise: base noise to read instead of the generator, or a layout in which to record the draws of one particle
            (see :mod:`jensen.inference.pair.randomness.noise`).
        seed: seeds the generator for this call only; None continues from its present state.
        values: latent values ``(K, *site shape)`` to use instead of the guide's draws, for any of the sites.
        analytic_kl: use ``KL(q || p)`` in closed form for each site where that is exact: the pair of distributions has
            one, and the model does not condition the site on a latent that the guide draws after it.
        detach_guide: score the guide with all parameters that it reaches detached (the path derivative estimator's
            ``log q``), on the draws, dropout masks and buffers that it was drawn with.
        enumerate_guide: take the expectation over every discrete site of the guide exactly, not only over those that
            ask for it with ``infer={"enumerate": "parallel"}``.
        sum_guide: sum the guide's enumerated sites out of the importance weight, ``log sum_y p(x, y, z) / q(z | y)``,
            instead of averaging every term under ``q(y)``. Importance-weighted objectives and evidence need this.
        per_dimension: also return terms per event dimension where the distributions are independent.
        hook_values: replaces the draws between guide and model, outside of vmap (used to rescale their gradient;
            needs `detach_guide`).
        share: this process's part of the global terms.

    Returns:
        The terms. Discrete latents that the guide lacks are summed out exactly; the affected sites appear as one
        group of kind ``"marginal"``.
    """
    structure = program.structure(batch, args)
    detach_guide = detach_guide and torch.is_grad_enabled()  # the values are the same
    if isinstance(noise, NoiseLayout):
        num_particles = 1
    from .trace import PairRun

    run = PairRun(program, structure, batch, args, analytic_kl, detach_guide, enumerate_guide, sum_guide, per_dimension)
    with ExitStack() as stack:
        stack.enter_context(program.environment())
        if seed is not None:
            stack.enter_context(torch.random.fork_rng(devices=_cuda_devices(batch)))
            torch.manual_seed(seed)
        hooks: dict[str, Any] = {}
        given = dict(values or {})
        if run.detach_guide and hook_values is not None:
            given = map_particles(program, run.sample, num_particles, noise, given)
            run.before = run.before[-num_particles if program.loop_over_particles else -1 :]
            given = hook_values(given, structure, hooks)
            if isinstance(noise, Noise):  # the model goes on where the guide stopped
                noise = noise.after(*run.noise_used)
        out = map_particles(program, run.score, num_particles, noise, given)
    sites, draws = run.unpack(out, num_particles)
    if program.exacting:
        _check_masses(sites, structure)
    weight = batch.get(getattr(program.model_owner, "row_weight", None) or "")
    return Terms(sites, draws, structure, num_particles, run.scale, share, hooks, weight)


def _cuda_devices(batch: Batch) -> list[int]:
    return sorted({v.device.index or 0 for v in batch.values() if isinstance(v, torch.Tensor) and v.is_cuda})


def _check_masses(sites: dict[str, SiteTerms], structure: Structure) -> None:
    """Raise a ModelError if a discrete observed site has a log mass above 0."""
    for name, terms in sites.items():
        site = structure.sites.get(name)
        if terms.kind != "observed" or terms.log_p is None or site is None or not site.support.is_discrete:
            continue
        finding = above_zero(name, site.distribution, terms.log_p)
        if finding is not None:
            raise finding.error()
