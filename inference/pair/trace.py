"""Runs of guide and model with effect handlers around them: the only place that traces and replays."""

from __future__ import annotations

__all__ = ["JointTrace", "density", "enumerated_model"]

from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from ..errors import ModelError
from ..tensors import Batch, Tensors
from .bound_pair import BoundPair
from .densities.site_densities import log_prob_of
from .findings.pair_sites import is_ignored
from .messengers.substitute import Substitute
from .randomness.draws import present_draws
from .randomness.rewrites import NORMAL, UNIFORM
from .randomness.tape import Tape
from .randomness.witness import Witness
from .second_run import Moment, detached
from .sites import Structure

_TAPE = "tape/"  # what `sample` returns besides the values of sites
_NONE: frozenset[str] = frozenset()


class _Enumerate(Messenger):
    """Mark sites for parallel enumeration, and (`only`) no others, whatever the program asks for."""

    def __init__(self, names: frozenset[str], only: bool = False) -> None:
        super().__init__()
        self.names, self.only = names, only

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.names and not msg["is_observed"]:
            msg["infer"] = {**msg["infer"], "enumerate": "parallel"}
        elif self.only:
            msg["infer"] = {**msg["infer"], "enumerate": None}


class JointTrace:
    """Guide and model run for one draw, in the order and with the handlers that their traces need.

    Args:
        program, structure: the pair, and its sites.
        batch, args: what both programs are given.
        model_enumerated, guide_enumerated: names of the sites that take all their values at once.

    Attributes:
        before: the moment before each run of :meth:`sample`.
        noise_used: how many normals and uniforms the last one read.
    """

    def __init__(
        self,
        program: BoundPair,
        structure: Structure,
        batch: Batch,
        args: tuple[Any, ...] = (),
        model_enumerated: frozenset[str] = _NONE,
        guide_enumerated: frozenset[str] = _NONE,
    ) -> None:
        self.program, self.structure, self.batch, self.args = program, structure, batch, args
        self.model_enumerated, self.guide_enumerated = model_enumerated, guide_enumerated
        self.before: list[Moment] = []
        self.noise_used = (0, 0)

    @property
    def enumerates(self) -> bool:
        return bool(self.model_enumerated or self.guide_enumerated)

    # Handlers act from the last entered to the first: sites are marked, then enumerated, then given their known values,
    # so that a known value still carries the enumerated dimensions it depends on.

    def guide(self, given: Tensors) -> Any:
        """The guide's trace, with some of its sites at `given` values."""
        with ExitStack() as stack:
            stack.enter_context(Substitute(given))
            if self.enumerates:
                stack.enter_context(poutine.enum(first_available_dim=-1 - self.structure.max_plate_nesting))
                stack.enter_context(_Enumerate(self.guide_enumerated))
            trace = poutine.trace(self.program.guide).get_trace(*self.args, **self.batch)
        return self._marked(trace, guarded=False)

    def model(self, guide_trace: Any, given: Tensors) -> Any:
        """The model's trace at the guide's draws; what the guide lacks may be `given` too."""
        with ExitStack() as stack:
            stack.enter_context(Substitute(given))
            stack.enter_context(poutine.replay(trace=guide_trace))
            if self.enumerates:
                stack.enter_context(poutine.enum())  # goes on after the dimensions that the guide took
                stack.enter_context(_Enumerate(self.model_enumerated))
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
            trace = self.guide(given)
        used = present_draws().used
        self.noise_used = used[NORMAL], used[UNIFORM]
        draws = {name: trace.nodes[name]["value"] for name in self._drawn(trace)} | given
        return draws | {f"{_TAPE}{i}": value for i, value in enumerate(tape.values)}

    def _drawn(self, trace: Any) -> list[str]:
        """The guide's sites that hold one draw each: all but the enumerated."""
        return [n for n in self.structure.guide_order if n in trace.nodes and n not in self.guide_enumerated]

    def detached_runs(self, given: Tensors) -> tuple[Any, Any, Any]:
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
                return scoring, self.model(scoring, values), scoring
            with before.again(), Tape(outside):  # for the live probabilities of its enumerated sites
                guide_trace = self.guide(values)
        else:
            before = Moment.now(self.program)
            with Tape() as tape:
                guide_trace = self.guide(values)
            outside = tape.values
        model_trace = self.model(guide_trace, values)
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
            trace = self.guide(views)
            for node in trace.nodes.values():  # now: a flow reads its parameters when it is asked for a density
                if not is_ignored(node):
                    node["scored"] = density(node)
        if drawn:
            raise ModelError(
                f"The guide draws by `{drawn[0]}` outside of its sample sites, where it cannot be made to draw the "
                f"same again, and this objective runs it twice. Use `Trace_ELBO` or `IWAE`, or draw by layers of their "
                f"own (`nn.Dropout` between the layers) and without `generator=`."
            )
        self.program.drawn_again = True
        return trace


def density(node: Any) -> torch.Tensor:
    """The site's log density, which must be a function: a random one is none of the law that was drawn from."""
    before = present_draws().count
    value = log_prob_of(node)
    if present_draws().count != before:
        raise ModelError(
            f"The log density of `{node['name']}` draws random numbers, so it is not the density that the site was "
            f"drawn from. Dropout inside of a flow is the usual cause: remove it, or set it to evaluation mode."
        )
    return value


def enumerated_model(program: BoundPair, batch: Batch, given: Tensors, names: frozenset[str], nesting: int) -> Any:
    """The model's trace with latents at `given` values and the sites `names` enumerated, left of `nesting` plates."""
    with ExitStack() as stack:
        stack.enter_context(Substitute(given))
        stack.enter_context(poutine.enum(first_available_dim=-1 - nesting))
        stack.enter_context(_Enumerate(names, only=True))
        trace = poutine.trace(program.model).get_trace(**batch)
    for node in trace.nodes.values():
        node["guarded"] = node["precise"] = True
    return trace
