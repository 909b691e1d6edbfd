"""One draw of guide and model: the only place that traces and replays."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from ..errors import ModelError
from ..tensors import Batch, Tensors
from . import enumeration
from .bound_pair import BoundPair
from .densities.site_densities import analytic_kl as closed_form_kl
from .densities.site_densities import dimensions, log_prob_of, reduce_to_data
from .findings.masks import mask_tensor
from .findings.pair_sites import is_ignored
from .messengers.substitute import Substitute
from .randomness.draws import NORMAL, UNIFORM, present_draws
from .randomness.tape import Tape
from .randomness.witness import Witness
from .second_run import Moment, detached
from .site_terms import SiteTerms
from .sites import Structure

__all__ = ["JointTrace", "enumerated_model"]


_TAPE = "tape/"  # what `sample` returns besides the values of sites


class _Annotate(Messenger):
    """Mark sites for parallel enumeration."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names and not msg["is_observed"]:
            msg["infer"] = {**msg["infer"], "enumerate": "parallel"}


class JointTrace:
    """One draw of the pair: the function that is mapped over particles, and the bookkeeping of what it returned."""

    def __init__(
        self,
        program: BoundPair,
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
            or (enumerate_guide and site.kind == "latent" and site.enumerable and not site.enumerated)
        )
        self.summed = self.model_enumerated | (self.guide_enumerated if sum_guide else frozenset())
        self.analytic = _analytic_sites(structure) if analytic_kl else frozenset()
        self.scale = 1.0
        self.found: dict[str, SiteTerms] = {}
        self.latents: list[str] = []
        self.before: list[Moment] = []  # each run of `sample`
        self.noise_used = (0, 0)

    # Handlers act from the last entered to the first: sites are marked, then enumerated, then given their known values,
    # so that a known value still carries the enumerated dimensions it depends on.

    def _guide(self, given: Tensors) -> Any:
        with ExitStack() as stack:
            stack.enter_context(Substitute(given))
            if self.model_enumerated or self.guide_enumerated:
                stack.enter_context(poutine.enum(first_available_dim=-1 - self.structure.max_plate_nesting))
                stack.enter_context(_Annotate(self.guide_enumerated))
            trace = poutine.trace(self.program.guide).get_trace(*self.args, **self.batch)
        return self._marked(trace, guarded=False)

    def _model(self, guide_trace: Any, given: Tensors) -> Any:
        with ExitStack() as stack:
            stack.enter_context(Substitute(given))
            stack.enter_context(poutine.replay(trace=guide_trace))
            if self.model_enumerated or self.guide_enumerated:
                stack.enter_context(poutine.enum())  # goes on after the dimensions that the guide took
                stack.enter_context(_Annotate(self.model_enumerated))
            trace = poutine.trace(self.program.model).get_trace(*self.args, **self.batch)
        return self._marked(trace, guarded=True)

    def _marked(self, trace: Any, guarded: bool) -> Any:
        """The trace, each site of it with how its density is to be evaluated; see `log_prob_of`."""
        for name, node in trace.nodes.items():
            if (site := self.structure.sites.get(name)) is not None:
                node["guarded"] = guarded and site.guarded
                node["precise"] = site.precise or self.program.exacting
        return trace

    def sample(self, given: Tensors) -> Tensors:
        """Only the guide's draws: those of its sites, and what it drew outside of them (``"tape/…"``)."""
        self.before.append(Moment.now(self.program))
        with Tape() as tape:
            trace = self._guide(given)
        used = present_draws().used
        self.noise_used = used[NORMAL], used[UNIFORM]
        draws = {name: trace.nodes[name]["value"] for name in self._drawn(trace)} | given
        return draws | {f"{_TAPE}{i}": value for i, value in enumerate(tape.values)}

    def _drawn(self, trace: Any) -> list[str]:
        """The guide's sites that hold one draw each: all but the enumerated."""
        return [n for n in self.structure.guide_order if n in trace.nodes and n not in self.guide_enumerated]

    def score(self, given: Tensors) -> Tensors:
        """The draws (``"value/…"``) and every site's terms (``"log_p/…"``, ``"log_q/…"``, ``"kl/…"``).

        `given` is what the guide may not draw anew, or all that :meth:`sample` returned: then the guide has run.
        """
        if not self.detach_guide:
            guide_trace = scoring = self._guide(given)
            model_trace = self._model(guide_trace, given)
        else:
            guide_trace, model_trace, scoring = self._detached_runs(given)
        nodes = [n for n in model_trace.nodes.values() if not is_ignored(n)]
        guide_nodes = {name: n for name, n in scoring.nodes.items() if not is_ignored(n) and not n["is_observed"]}
        self.found = {}
        out: Tensors = {}
        if self.model_enumerated or self.guide_enumerated:
            for part in enumeration.contract(model_trace, guide_trace, scoring, self.structure, self.summed):
                terms = {"log_p": part.log_p, "log_q": part.log_q}
                self._record(out, part.name, part.kind, part.local, terms, part.weight, part.pathwise)
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

    def _detached_runs(self, given: Tensors) -> tuple[Any, Any, Any]:
        """The traces of guide and model, and of the guide run once more on its own draws at detached parameters.

        A guide cannot be scored at detached parameters in the run that draws: what it computes from its parameters and
        earlier draws leads to the next draw, with their gradient, and to its density, without it. So it runs again, and
        sees what it saw: the same values of its sites, the same other draws (dropout, `torch.randn`), the same buffers.
        """
        values = {name: value for name, value in given.items() if not name.startswith(_TAPE)}
        if self.before:  # `sample` has run the guide
            before = self.before[0] if len(self.before) == 1 else self.before.pop(0)
            outside = [given[f"{_TAPE}{i}"] for i in range(len(given) - len(values))]
            if not self.guide_enumerated:
                scoring = self._scoring(values, before, outside)
                return scoring, self._model(scoring, values), scoring
            with before.again(), Tape(outside):  # for the live probabilities of its enumerated sites
                guide_trace = self._guide(values)
        else:
            before = Moment.now(self.program)
            with Tape() as tape:
                guide_trace = self._guide(values)
            outside = tape.values
        model_trace = self._model(guide_trace, values)
        draws = {name: guide_trace.nodes[name]["value"] for name in self._drawn(guide_trace)}
        return guide_trace, model_trace, self._scoring(draws, before, outside)

    def _scoring(self, draws: Tensors, before: Moment, outside: list[torch.Tensor]) -> Any:
        """The guide's trace at its own draws and detached parameters.

        Raises:
            ModelError: if the guide draws what no tape can give back (dropout inside of an LSTM, its own generator).
        """
        # as views: a flow that keeps its last draw would score it with the live parameters
        views = {name: value.view_as(value) for name, value in draws.items()}
        drawn: list[str] = []
        watch = nullcontext() if self.program.drawn_again else Witness(drawn.append, drawn.append)
        with detached(self.program), before.again(), Tape([value.detach() for value in outside]), watch:
            trace = self._guide(views)
            for node in trace.nodes.values():  # now: a flow reads its parameters when it is asked for a density
                if not is_ignored(node):
                    node["scored"] = _density(node)
        if drawn:
            raise ModelError(
                f"The guide draws by `{drawn[0]}` outside of its sample sites, where it cannot be made to draw the "
                f"same again, and this objective runs it twice. Use `Trace_ELBO` or `IWAE`, or draw by layers of their "
                f"own (`nn.Dropout` between the layers) and without `generator=`."
            )
        self.program.drawn_again = True
        return trace

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
            terms["log_p"] = reduce_to_data(_density(node), dim, site)
        if guide_node is not None and ("kl" not in terms or not info.reparameterized):
            terms["log_q"] = reduce_to_data(_density(guide_node), dim, site)
            if guide_node["mask"] is not None and not info.reparameterized:
                terms["score"] = reduce_to_data(log_prob_of(guide_node, masked=False), dim, site)
        if node is not None and guide_node is not None and (mask := mask_tensor(node)) is not None:
            terms["mask"] = mask
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
        sites = {name: replace(site, **parts[name]) for name, site in self.found.items()}  # type: ignore[arg-type]
        return sites, values


def _density(node: Any) -> torch.Tensor:
    """The site's log density, which must be a function: a random one is none of the law that was drawn from."""
    before = present_draws().count
    value = log_prob_of(node)
    if present_draws().count != before:
        raise ModelError(
            f"The log density of `{node['name']}` draws random numbers, so it is not the density that the site was "
            f"drawn from. Dropout inside of a flow is the usual cause: remove it, or set it to evaluation mode."
        )
    return value


def _analytic_sites(structure: Structure) -> frozenset[str]:
    """Latents whose KL may be taken in closed form: none that the model draws earlier is drawn later by the guide."""
    guide_rank = {name: rank for rank, name in enumerate(structure.guide_order)}
    latents = [site.name for site in structure.select("latent") if site.name in guide_rank]
    return frozenset(
        name
        for position, name in enumerate(latents)
        if all(guide_rank[earlier] < guide_rank[name] for earlier in latents[:position])
    )


class _EnumerateOnly(Messenger):
    """Enumerate these sites and no others, whatever the program asks for."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        wanted = "parallel" if msg["name"] in self.names and not msg["is_observed"] else None
        msg["infer"] = {**msg["infer"], "enumerate": wanted}


def enumerated_model(program: BoundPair, batch: Batch, given: Tensors, names: frozenset[str], nesting: int) -> Any:
    """The model's trace with latents at `given` values and the sites `names` enumerated, left of `nesting` plates."""
    with ExitStack() as stack:
        stack.enter_context(Substitute(given))
        stack.enter_context(poutine.enum(first_available_dim=-1 - nesting))
        stack.enter_context(_EnumerateOnly(names))
        trace = poutine.trace(program.model).get_trace(**batch)
    for node in trace.nodes.values():
        node["guarded"] = node["precise"] = True
    return trace
