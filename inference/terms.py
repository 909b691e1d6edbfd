r"""The one place that runs guide and model together and returns the terms ``log p`` and ``log q`` of every site.

For `K` particles and a mini-batch of `B` data, each term is ``(K, B)`` for a site inside the plate ``"data"`` and
``(K,)`` for any other, never scaled by ``N / B``. Particles are vectorised with :func:`torch.vmap`, so a program is
written for one draw. Everything jensen computes (bounds, gradients, evidence, diagnostics) is a reduction of these terms.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from . import enumeration
from .densities import analytic_kl as closed_form_kl
from .densities import dimensions, log_prob_of, reduce_to_data
from .noise import Noise, NoiseLayout, record_noise, replay_noise, vmap_safe_noise
from .program import Batch, Program, Structure
from .structure import is_ignored

__all__ = ["SiteTerms", "Terms", "evaluate", "map_particles"]

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
    """

    sites: dict[str, SiteTerms]
    values: Tensors
    structure: Structure
    num_particles: int
    scale: float = 1.0
    share: float = 1.0
    hooks: dict[str, Any] = field(default_factory=dict)

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


class _Annotate(Messenger):
    """Mark sites for parallel enumeration."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names and not msg["is_observed"]:
            msg["infer"] = {**msg["infer"], "enumerate": "parallel"}


class _Substitute(Messenger):
    """Give latent sites known values; they stay latent."""

    def __init__(self, values: Tensors) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True


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
        noise: base noise to read instead of the generator, or a layout to record one particle's draws in (see
            :mod:`jensen.inference.noise`).
        seed: seeds the generator for this call only; None continues from its present state.
        values: latent values ``(K, *site shape)`` to use instead of the guide's draws, for any of the sites.
        analytic_kl: use ``KL(q || p)`` in closed form for each site where that is exact: the pair of distributions has
            one, and the model does not condition the site on a latent that the guide draws after it.
        detach_guide: score the guide with its parameters detached (the path derivative estimator's ``log q``).
        enumerate_guide: take the expectation over every discrete site of the guide exactly, not only over those that
            ask for it with ``infer={"enumerate": "parallel"}``.
        sum_guide: sum the guide's enumerated sites out of the importance weight, ``log sum_y p(x, y, z) / q(z | y)``,
            instead of averaging every term under ``q(y)``. Importance-weighted objectives and evidence need this.
        per_dimension: also return terms per event dimension where the distributions are independent.
        hook_values: replaces the draws between guide and model, outside of vmap (used to rescale their gradient).
        share: this process's part of the global terms.

    Returns:
        The terms. Discrete latents that the guide lacks are summed out exactly; the affected sites appear as one
        group of kind ``"marginal"``.
    """
    structure = program.structure(batch, args)
    run = _Run(program, structure, batch, args, analytic_kl, detach_guide, enumerate_guide, sum_guide, per_dimension)
    with ExitStack() as stack:
        stack.enter_context(program.environment())
        if seed is not None:
            stack.enter_context(torch.random.fork_rng(devices=_cuda_devices(batch)))
            torch.manual_seed(seed)
        hooks: dict[str, Any] = {}
        given = dict(values or {})
        if hook_values is not None:
            given = map_particles(program, run.sample, num_particles, noise, given)
            given = hook_values(given, structure, hooks)
        out = map_particles(program, run.score, num_particles, None if hook_values else noise, given)
    sites, draws = run.unpack(out, num_particles)
    return Terms(sites, draws, structure, num_particles, run.scale, share, hooks)


def _cuda_devices(batch: Batch) -> list[int]:
    return sorted({v.device.index or 0 for v in batch.values() if isinstance(v, torch.Tensor) and v.is_cuda})


def map_particles(
    program: Program, function: Callable[..., Tensors], num_particles: int, noise: Noise | NoiseLayout | None, given: Tensors
) -> Tensors:
    """Run `function` once per particle: directly, under vmap, or (if vmap cannot run it) in a loop."""
    if isinstance(noise, NoiseLayout):
        with record_noise(noise):
            row = function({name: value[0] for name, value in given.items()})
        return {name: value.unsqueeze(0) for name, value in row.items()}
    if noise is None:
        empty = next(iter(given.values())).new_empty(num_particles, 0) if given else torch.empty(num_particles, 0)
        noise = Noise(empty, empty)

        def one(normal: torch.Tensor, uniform: torch.Tensor, values: Tensors) -> Tensors:
            with vmap_safe_noise():
                return function(values)
    else:

        def one(normal: torch.Tensor, uniform: torch.Tensor, values: Tensors) -> Tensors:
            with replay_noise(normal, uniform):
                return function(values)

    if num_particles == 1:
        row = one(noise.normal[0], noise.uniform[0], {name: value[0] for name, value in given.items()})
        return {name: value.unsqueeze(0) for name, value in row.items()}
    if not program.loop_over_particles:
        try:
            return torch.vmap(one, randomness="different")(noise.normal, noise.uniform, given)
        except (RuntimeError, NotImplementedError) as error:
            if not any(word in str(error) for word in ("vmap", "functorch", "batching", "data-dependent")):
                raise
            warnings.warn(
                f"The program cannot be vectorised over particles, so they are run one by one, which is slower. "
                f"Reason: {str(error).splitlines()[0]}",
                stacklevel=4,
            )
            program.loop_over_particles = True
    rows = [
        one(noise.normal[k], noise.uniform[k], {name: value[k] for name, value in given.items()})
        for k in range(num_particles)
    ]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


class _Run:
    """One draw of the pair: the function that is mapped over particles, and the bookkeeping of what it returned."""

    def __init__(
        self,
        program: Program,
        structure: Structure,
        batch: Batch,
        args: tuple[Any, ...],
        analytic_kl: bool,
        detach_guide: bool,
        enumerate_guide: bool,
        sum_guide: bool,
        per_dimension: bool,
    ) -> None:
        self.program, self.structure, self.batch, self.args = program, structure, batch, args
        self.detach_guide, self.per_dimension = detach_guide, per_dimension
        sites = structure.sites.values()
        self.model_enumerated = frozenset(site.name for site in sites if site.enumerated == "model")
        self.guide_enumerated = frozenset(
            site.name
            for site in sites
            if site.enumerated == "guide"
            or (enumerate_guide and site.kind == "latent" and site.support.is_discrete and not site.enumerated)
        )
        self.summed = self.model_enumerated | (self.guide_enumerated if sum_guide else frozenset())
        self.analytic = _analytic_sites(structure) if analytic_kl else frozenset()
        self.scale = 1.0
        self.found: dict[str, SiteTerms] = {}
        self.latents: list[str] = []

    def _guide(self, given: Tensors) -> Any:
        guide = self.program.guide
        handlers = [_Substitute(given), _Annotate(self.guide_enumerated)]
        with ExitStack() as stack:
            if self.model_enumerated or self.guide_enumerated:
                stack.enter_context(poutine.enum(first_available_dim=-1 - self.structure.max_plate_nesting))
            for handler in handlers:
                stack.enter_context(handler)
            return poutine.trace(guide).get_trace(*self.args, **self.batch)

    def _model(self, guide_trace: Any, given: Tensors) -> Any:
        with ExitStack() as stack:
            if self.model_enumerated or self.guide_enumerated:
                stack.enter_context(poutine.enum())  # goes on after the dimensions that the guide took
            stack.enter_context(_Annotate(self.model_enumerated))
            stack.enter_context(_Substitute(given))
            replayed = poutine.replay(self.program.model, trace=guide_trace)
            return poutine.trace(replayed).get_trace(*self.args, **self.batch)

    def sample(self, given: Tensors) -> Tensors:
        """Only the guide's draws."""
        trace = self._guide(given)
        names = [name for name in self.structure.guide_order if name in trace.nodes and name not in given]
        return {name: trace.nodes[name]["value"] for name in names} | given

    def score(self, given: Tensors) -> Tensors:
        """The draws (``"value/…"``) and every site's terms (``"log_p/…"``, ``"log_q/…"``, ``"kl/…"``)."""
        guide_trace = self._guide(given)
        model_trace = self._model(guide_trace, given)
        scoring = guide_trace
        if self.detach_guide:
            draws = {n: s["value"] for n, s in guide_trace.nodes.items() if s["type"] == "sample"}
            with self.program.detached_guide():
                scoring = self._guide({name: value for name, value in draws.items() if name in self.structure.sites})
        nodes = [n for n in model_trace.nodes.values() if not is_ignored(n)]
        guide_nodes = {name: n for name, n in scoring.nodes.items() if not is_ignored(n) and not n["is_observed"]}
        self.found, out = {}, {}
        if self.model_enumerated or self.guide_enumerated:
            parts = enumeration.contract(model_trace, scoring, self.structure, self.summed)
            for part in parts:
                self._record(out, part.name, part.kind, part.local, {"log_p": part.log_p, "log_q": part.log_q}, 1.0)
        else:
            for node in nodes:
                self._site(out, node, guide_nodes.get(node["name"]))
            for name, node in guide_nodes.items():
                if name not in model_trace.nodes:
                    self._site(out, None, node)
        for node in nodes:
            if "minibatch_scale" in node:
                self.scale = node["minibatch_scale"]
        self.latents = [name for name in guide_nodes if name not in self.guide_enumerated]
        out.update({f"value/{name}": guide_nodes[name]["value"] for name in self.latents})
        return out

    def _site(self, out: Tensors, node: Any, guide_node: Any) -> None:
        site = node or guide_node
        info = self.structure.sites[site["name"]]
        dim = info.data_dim
        terms: Tensors = {}
        weight = site["scale"] / site.get("minibatch_scale", 1.0) if info.scaled else 1.0
        if guide_node is not None and node is not None and info.name in self.analytic:
            kl = closed_form_kl(guide_node, node)
            if kl is not None:
                terms["kl"] = reduce_to_data(kl, dim, site)
        if node is not None and not (info.kind == "latent" and "kl" in terms):
            terms["log_p"] = reduce_to_data(log_prob_of(node), dim, site)
        if guide_node is not None and ("kl" not in terms or not info.reparameterized):
            terms["log_q"] = reduce_to_data(log_prob_of(guide_node), dim, site)
        if self.per_dimension and node is not None and guide_node is not None:
            terms.update(dimensions(node, guide_node, "kl" in terms))
        self._record(out, info.name, info.kind, info.local, terms, weight, guide_node is None or info.reparameterized)

    def _record(
        self,
        out: Tensors,
        name: str,
        kind: str,
        local: bool,
        terms: Mapping[str, torch.Tensor | None],
        weight: Any,
        reparameterized: bool = True,
    ) -> None:
        for part, tensor in terms.items():
            if tensor is not None:
                out[f"{part}/{name}"] = tensor
        self.found[name] = SiteTerms(name, kind, local, None, None, None, weight, reparameterized)

    def unpack(self, out: Tensors, num_particles: int) -> tuple[dict[str, SiteTerms], Tensors]:
        parts: dict[str, Tensors] = {name: {} for name in self.found}
        values: Tensors = {}
        for key, tensor in out.items():
            part, name = key.split("/", 1)
            if part == "value":
                values[name] = tensor
            else:
                parts[name][part] = tensor
        return {name: replace(self.found[name], **parts[name]) for name in self.found}, values


def _analytic_sites(structure: Structure) -> frozenset[str]:
    """Latents whose KL may be taken in closed form: none that the model draws earlier is drawn later by the guide."""
    guide_rank = {name: rank for rank, name in enumerate(structure.guide_order)}
    latents = [site.name for site in structure.select("latent") if site.name in guide_rank]
    return frozenset(
        name
        for position, name in enumerate(latents)
        if all(guide_rank[earlier] < guide_rank[name] for earlier in latents[:position])
    )
