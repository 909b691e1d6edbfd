"""Draws of a fit's latents: by the guide, from stored draws, or from their exact conditional."""

from __future__ import annotations

__all__ = ["LatentDraws"]

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..errors import DataError
from ..pair.discrete.conditionals import Conditional
from ..pair.messengers.substitute import Substitute
from ..pair.particles import map_particles
from ..pair.trace import enumerated_model
from ..tensors import Tensors
from .model_outline import Outline, outline
from .record import FitRecord
from .row_dependence import depends_on_rows, generator_aside


class LatentDraws:
    r"""Draws from the posterior approximation :math:`q(\theta \mid x)\, q(z \mid x', \theta)`, jointly.

    Global latents :math:`\theta` are those of the training data `x`, whichever rows `x'` are asked about. Discrete
    latents that the fit summed out are drawn from their exact conditional given all others.

    Args:
        fit: the fit.
        batch: the rows `x'` whose local latents are drawn too; None for the global ones alone.
        own: whether `batch` are the training data.
        without: latents to leave out, which nothing observed depends on.
        summed: sites that are missing from `batch` alone, to be summed out and drawn there like discrete latents.
        stored: draws to use for the latents they hold, for methods that sample.
        auxiliary: whether the guide's auxiliary draws come too, of which latents are the images.

    Raises:
        DataError: if the training data are needed and not held, or other rows are asked about where the guide has one
            factor for each training datum.
    """

    def __init__(
        self,
        fit: FitRecord,
        batch: Tensors | None,
        own: bool,
        without: Collection[str] = (),
        summed: Collection[str] = (),
        stored: Mapping[str, Tensor] | None = None,
        auxiliary: bool = False,
    ) -> None:
        self.fit, self.program, self.structure, self.stored = fit, fit.program, fit.structure, stored
        self.sites = [site for site in self.structure.select("latent") if site.name not in without]
        self.shared = [site for site in self.sites if not site.local]  # the global ones
        self.extra = frozenset(summed)
        self.auxiliary = [site.name for site in self.structure.select("auxiliary")] if auxiliary else []
        self.alone = batch is None
        self.elsewhere: Tensors | None = None  # the rows that the global latents are drawn on, if not `batch`
        reading = self._reading()
        if batch is None:
            batch = self._training(reading) if reading else self._few()
        elif not own:
            self._check_rows()
            if reading:
                self.elsewhere = fit.batch() if fit.data is not None else None
            elif not self._local():
                self.elsewhere = self._few()
        self.batch: Tensors = batch

    def _local(self) -> list[str]:
        """The local latents that are not summed out."""
        return [site.name for site in self.sites if site.local and site.enumerated != "model"]

    def _reading(self) -> list[str]:
        """The global latents whose draws need all the training data."""
        summed = [site.name for site in self.shared if site.enumerated == "model"]
        default = hasattr(self.fit.guide, "local_latents")  # its parameters are all that it reads
        if self.stored is not None or len(summed) == len(self.shared) or default:
            return summed
        return [*summed, *(name for name in depends_on_rows(self.fit) if name in self.structure.sites)]

    def _training(self, reading: list[str]) -> Tensors:
        if self.fit.data is None:
            raise DataError(
                f"`data` must be given: `{reading[0]}` is drawn given all the training data, which this fit does not "
                f"hold (see `Fit.save`)."
            )
        return self.fit.batch()

    def _few(self) -> Tensors:
        rows = len(next(iter(self.fit.prototype.values())))
        size = self.structure.batch_size
        free = size is None and not any(site.plates for site in self.sites)  # a plate may have the data's rows
        return self.fit.fewest() if size == rows or free else self.fit.stand_in()

    def _check_rows(self) -> None:
        fit, rows = self.fit, len(next(iter(self.fit.prototype.values())))
        local = self._local()
        if not local or fit.data is None:
            return
        fixed = self.stored is not None or any(name in getattr(fit.guide, "local_latents", ()) for name in local)
        if not fixed and (self.structure.batch_size in (rows, None) or rows == fit.data_size):
            return
        raise DataError(
            f"`data` has other rows than the fit: its posterior of `{local[0]}` has one factor for each of the "
            f"{fit.data_size} training data, and says nothing of others. Leave `data` out, or leave out what is "
            f"observed so that `{local[0]}` is drawn from its prior, or give the model an amortised `guide`."
        )

    @property
    def random(self) -> bool:
        """Whether the latents that are not summed out here have draws that differ."""
        sampled = [site for site in self.sites if site.enumerated != "model"]
        return (
            (self.elsewhere is not None and bool(self.shared))
            or self.stored is not None
            or any(site.guide_distribution != "Delta" for site in sampled)
            or bool(self.structure.select("auxiliary"))
        )

    def num_numbers(self) -> int:
        """How many numbers one draw takes, about: those of the data it runs on, or of its sums over discrete latents.

        A function of shapes alone, so that draws do not depend on the memory of a machine.
        """
        given = self._stored(0, 1)
        found = [sum(value.numel() for value in rows.values()) for rows in (self.batch, self.elsewhere or {})]
        with generator_aside(self.batch):
            if self.elsewhere is not None:
                found.append(int(self._run(self.elsewhere, given, 1, _size, self._scope())["size"]))
                given = self._shared(self.elsewhere, given, 1)
            found.append(int(self._run(self.batch, given, 1, _size, self._scope() if self.alone else None)["size"]))
        return max(found)

    def draw(self, start: int, count: int) -> Tensors:
        """The draws ``start, …, start + count - 1`` of the latents by name, ``(count, *site shape)``."""
        given = self._stored(start, count)
        if self.elsewhere is not None:
            given = self._shared(self.elsewhere, given, count)
        return self._shared(self.batch, given, count) if self.alone else self._draw(self.batch, given, count)

    def outline(self) -> Outline:
        """The model's sites on the rows that are drawn on, at one draw; the generator stays as it was."""
        with generator_aside(self.batch):
            return outline(self.program, self.batch, {name: value[0] for name, value in self.draw(0, 1).items()})

    def shared_values(self) -> list[str]:
        """Names of the computed values that go with the global latents alone: outside the plate, not of the data."""
        seen = self.outline()
        shared = [name for name in seen.computed if not seen.is_local(name)]
        reading = depends_on_rows(self.fit) if shared else []
        return [name for name in shared if name not in reading]

    def marginals(self, start: int, count: int) -> Tensors:
        """The probabilities ``(count, *batch shape, C)`` of discrete latents given draws of all others, by name.

        Of latents that the guide draws these are the guide's own.
        """
        given = self._stored(start, count)
        found: Tensors = {}
        if self.elsewhere is not None:
            found = self._of_shared(self._run(self.elsewhere, given, count, _probabilities))
            given = self._shared(self.elsewhere, given, count)
        return found | self._run(self.batch, given, count, _probabilities)

    def _shared(self, batch: Tensors, given: Tensors, count: int) -> Tensors:
        """Draws of the global latents alone."""
        return self._of_shared(self._draw(batch, given, count, self._scope()))

    def _of_shared(self, values: Tensors) -> Tensors:
        names = {site.name for site in self.shared}
        return {name: value for name, value in values.items() if name in names}

    def _stored(self, start: int, count: int) -> Tensors:
        return {name: value[start : start + count] for name, value in (self.stored or {}).items()}

    def _scope(self) -> set[str] | None:
        """What to draw for the global latents: those, or all where the conditional of one needs the local ones."""
        joint = any(site.enumerated == "model" for site in self.shared)
        return None if joint else {site.name for site in self.shared}

    def _draw(self, batch: Tensors, given: Tensors, count: int, only: Collection[str] | None = None) -> Tensors:
        if not self.sites and not self.extra:
            return given
        return self._run(batch, given, count, _values, only)

    def _run(
        self,
        batch: Tensors,
        given: Tensors,
        count: int,
        result: Callable[[Tensors, dict[str, Any], Conditional | None], Tensors],
        only: Collection[str] | None = None,
    ) -> Tensors:
        """`result` of each draw: of the latents known so far, the guide's sites, and what is left to be summed out."""
        missing = [site for site in self.sites if site.name not in given and (only is None or site.name in only)]
        discrete = frozenset(site.name for site in missing if site.enumerated == "model")
        discrete |= self.extra if batch is self.batch else frozenset()
        sampled = [site.name for site in missing if site.enumerated != "model"]

        def one(values: Tensors) -> Tensors:
            latents, nodes, beside = dict(values), {}, {}
            if sampled and self.stored is None:
                with Substitute(values):
                    trace = poutine.trace(self.program.guide).get_trace(**batch)
                nodes = {name: trace.nodes[name] for name in sampled if name in trace.nodes}
                latents.update({name: node["value"] for name, node in nodes.items()})
                beside = {name: trace.nodes[name]["value"] for name in self.auxiliary if name in trace.nodes}
            if not discrete:
                return result(latents, nodes, None) | beside
            trace = enumerated_model(self.program, batch, latents, discrete, self.structure.max_plate_nesting)
            return result(latents, nodes, Conditional(trace, discrete, frozenset(latents))) | beside

        return map_particles(self.program, one, count, None, given)


def _values(latents: Tensors, nodes: Mapping[str, Any], conditional: Conditional | None) -> Tensors:
    return latents if conditional is None else latents | conditional.draw()


def _size(latents: Tensors, nodes: Mapping[str, Any], conditional: Conditional | None) -> Tensors:
    return {"size": torch.tensor(0 if conditional is None else conditional.num_numbers)}


def _probabilities(latents: Tensors, nodes: Mapping[str, Any], conditional: Conditional | None) -> Tensors:
    own = {
        name: node["fn"].log_prob(node["fn"].enumerate_support()).exp().movedim(0, -1)
        for name, node in nodes.items()
        if node["fn"].has_enumerate_support
    }
    return own if conditional is None else own | conditional.probabilities()
