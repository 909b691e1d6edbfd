"""The terms of one draw of guide and model: the function that is mapped over particles, and what it returned."""

from __future__ import annotations

__all__ = ["JointTerms"]

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from . import enumeration
from .densities.site_densities import analytic_kl as closed_form_kl
from .densities.site_densities import dimensions, log_prob_of, reduce_to_data
from .findings.masks import mask_tensor
from .findings.pair_sites import is_ignored
from .site_terms import SiteTerms, Tensors
from .sites import Structure
from .trace import JointTrace, density


class JointTerms:
    """From traces to terms. What a mapped function returns is tensors by name; the rest is kept here.

    Args:
        runs: of guide and model.
        analytic_kl, detach_guide, sum_guide, per_dimension: as for :func:`~jensen.inference.pair.terms.evaluate`.

    Attributes:
        scale: ``N / B`` as the model's run had it.
    """

    def __init__(
        self, runs: JointTrace, *, analytic_kl: bool, detach_guide: bool, sum_guide: bool, per_dimension: bool
    ) -> None:
        self.runs, self.structure = runs, runs.structure
        self.detach_guide, self.per_dimension = detach_guide, per_dimension
        self.summed = runs.model_enumerated | (runs.guide_enumerated if sum_guide else frozenset())
        self.analytic = _analytic_sites(runs.structure) if analytic_kl else frozenset()
        self.scale = 1.0
        self.found: dict[str, SiteTerms] = {}

    def score(self, given: Tensors) -> Tensors:
        """The draws (``"value/…"``) and every site's terms (``"log_p/…"``, ``"log_q/…"``, ``"kl/…"``).

        `given` is what the guide may not draw anew, or all that `JointTrace.sample` returned: then the guide has run.
        """
        if not self.detach_guide:
            guide_trace = scoring = self.runs.guide(given)
            model_trace = self.runs.model(guide_trace, given)
        else:
            guide_trace, model_trace, scoring = self.runs.detached_runs(given)
        nodes = [n for n in model_trace.nodes.values() if not is_ignored(n)]
        guide_nodes = {name: n for name, n in scoring.nodes.items() if not is_ignored(n) and not n["is_observed"]}
        self.found = {}
        out: Tensors = {}
        if self.runs.enumerates:
            for part in enumeration.contract(model_trace, guide_trace, scoring, self.structure, self.summed):
                terms = {"log_p": part.log_p, "log_q": part.log_q}
                self._record(out, terms, part.name, part.kind, part.local, part.weight, part.pathwise)
        else:
            for node in nodes:
                self._site(out, node, guide_nodes.get(node["name"]))
            for name, node in guide_nodes.items():
                if name not in model_trace.nodes:
                    self._site(out, None, node)
        for node in nodes:
            if "minibatch_scale" in node:
                self.scale = node["minibatch_scale"]
        for name, node in guide_nodes.items():
            if name not in self.runs.guide_enumerated:
                out[f"value/{name}"] = node["value"]
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
            terms["log_p"] = reduce_to_data(density(node), dim, site)
        if guide_node is not None and ("kl" not in terms or not info.reparameterized):
            terms["log_q"] = reduce_to_data(density(guide_node), dim, site)
            if guide_node["mask"] is not None and not info.reparameterized:
                terms["score"] = reduce_to_data(log_prob_of(guide_node, masked=False), dim, site)
        if node is not None and guide_node is not None and (mask := mask_tensor(node)) is not None:
            terms["mask"] = mask
        if self.per_dimension and node is not None and guide_node is not None:
            terms.update(dimensions(node, guide_node, "kl" in terms))
        pathwise = guide_node is None or info.reparameterized
        self._record(out, terms, info.name, info.kind, info.local, weight, pathwise)

    def _record(
        self,
        out: Tensors,
        terms: Mapping[str, torch.Tensor | None],
        name: str,
        kind: str,
        local: bool,
        weight: Any,
        pathwise: bool,
    ) -> None:
        out.update({f"{part}/{name}": tensor for part, tensor in terms.items() if tensor is not None})
        self.found[name] = SiteTerms(name, kind, local, None, None, weight=weight, reparameterized=pathwise)

    def unpack(self, out: Tensors) -> tuple[dict[str, SiteTerms], Tensors]:
        """What :meth:`score` returned for all particles, as terms and draws by site."""
        parts: dict[str, Tensors] = {name: {} for name in self.found}
        values: Tensors = {}
        for key, tensor in out.items():
            part, name = key.split("/", 1)
            if part == "value":
                values[name] = tensor
            else:
                parts[name][part] = tensor
        sites = {name: replace(site, **parts[name]) for name, site in self.found.items()}  # type: ignore[arg-type]
        return sites, values


def _analytic_sites(structure: Structure) -> frozenset[str]:
    """Latents whose KL may be taken in closed form: none that the model draws earlier is drawn later by the guide."""
    guide_rank = {name: rank for rank, name in enumerate(structure.guide_order)}
    latents = [site.name for site in structure.select("latent") if site.name in guide_rank]
    return frozenset(
        name
        for position, name in enumerate(latents)
        if all(guide_rank[earlier] < guide_rank[name] for earlier in latents[:position])
    )
