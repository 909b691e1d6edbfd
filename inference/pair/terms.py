r"""The one place that runs guide and model together and returns the terms ``log p`` and ``log q`` of every site.

For `K` particles and a mini-batch of `B` data, each term is ``(K, B)`` for a site inside the plate ``"data"`` and
``(K,)`` for any other, never scaled by ``N / B``. Particles are vectorised with :func:`torch.vmap`, so a program is
written for one draw. Everything jensen computes (bounds, gradients, evidence, diagnostics) is a reduction of these
terms."""

from __future__ import annotations

__all__ = ["evaluate"]

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from ..tensors import Batch, Tensors
from .findings.masses import above_zero
from .joint_terms import JointTerms
from .particles import map_particles
from .program import Program
from .randomness.noise import Noise, NoiseLayout
from .site_terms import SiteTerms, Terms
from .sites import Structure
from .trace import JointTrace


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
    runs = JointTrace(program, structure, batch, args, *_enumerated(structure, enumerate_guide))
    terms = JointTerms(
        runs, analytic_kl=analytic_kl, detach_guide=detach_guide, sum_guide=sum_guide, per_dimension=per_dimension
    )
    with ExitStack() as stack:
        stack.enter_context(program.environment())
        if seed is not None:
            stack.enter_context(torch.random.fork_rng(devices=_cuda_devices(batch)))
            torch.manual_seed(seed)
        hooks: dict[str, Any] = {}
        given = dict(values or {})
        if detach_guide and hook_values is not None:
            given = map_particles(program, runs.sample, num_particles, noise, given)
            runs.before = runs.before[-num_particles if program.loop_over_particles else -1 :]
            given = hook_values(given, structure, hooks)
            if isinstance(noise, Noise):  # the model goes on where the guide stopped
                noise = noise.after(*runs.noise_used)
        out = map_particles(program, terms.score, num_particles, noise, given)
    sites, draws = terms.unpack(out)
    if program.exacting:
        _check_masses(sites, structure)
    weight = batch.get(getattr(program.model_owner, "row_weight", None) or "")
    return Terms(sites, draws, structure, num_particles, terms.scale, share, hooks, weight)


def _enumerated(structure: Structure, enumerate_guide: bool) -> tuple[frozenset[str], frozenset[str]]:
    """The sites that take all their values at once, in the model and in the guide."""
    sites = structure.sites.values()
    in_guide = frozenset(
        site.name
        for site in sites
        if site.enumerated == "guide"
        or (enumerate_guide and site.kind == "latent" and site.enumerable and not site.enumerated)
    )
    return frozenset(site.name for site in sites if site.enumerated == "model"), in_guide


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
