"""One run of a model on a batch: which sites it has, which of them are computed, and what each axis stands for."""

from __future__ import annotations

__all__ = ["Outline", "other_value", "outline"]

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..pair.findings import PairSites, raise_first
from ..pair.findings.observed import check_observed
from ..pair.findings.pair_sites import class_name, in_data_plate, is_ignored
from ..pair.messengers.substitute import Substitute
from ..pair.program import Program
from ..tensors import Batch

_OBSERVED, _UNOBSERVED = "_observed", "_unobserved"


class Outline:
    """What one run of a model told.

    Attributes:
        nodes: Pyro's messages of all its sites but the plates' own, by name, in order.
        computed: names of the `pyro.deterministic` sites.
        filled: sites with an `obs_mask`, name -> (site of the observed entries, site of the others): both parts and
            the whole, which is computed from them, are in `nodes`.
        latents, observed, factors: names of the sites drawn, of those given, and of the `pyro.factor` statements.
    """

    def __init__(self, trace: Any) -> None:
        self.nodes: dict[str, Any] = {
            name: node
            for name, node in trace.nodes.items()
            if node["type"] == "sample" and (not is_ignored(node) or _is_computed(node))
        }
        self.computed = [name for name, node in self.nodes.items() if _is_computed(node)]
        dense = {name: node for name, node in self.nodes.items() if name not in self.computed}
        self.filled = {
            name: (name + _OBSERVED, name + _UNOBSERVED)
            for name in self.computed
            if name + _OBSERVED in dense and name + _UNOBSERVED in dense
        }
        self.factors = [name for name, node in dense.items() if class_name(node["fn"]) == "Unit"]
        self.latents = [name for name, node in dense.items() if not node["is_observed"]]
        self.observed = [n for n, node in dense.items() if node["is_observed"] and n not in self.factors]

    def is_local(self, name: str) -> bool:
        """Whether the site is inside the plate ``"data"``."""
        return in_data_plate(self.nodes[name])

    def own_name(self, observed: str) -> str:
        """The name that the program gives a site: for the observed part of a site with an `obs_mask`, the whole's."""
        whole = observed.removesuffix(_OBSERVED)
        return whole if whole in self.filled or (whole in self.nodes and observed not in self.nodes) else observed

    def has_data(self, name: str) -> bool:
        """Whether an observed site or factor says something: not where a mask hides all of it."""
        mask = self.nodes[name]["mask"]
        return mask is None or bool(torch.as_tensor(mask).any())

    def axes(self, name: str) -> list[str | None]:
        """What each axis of a site's value is: a plate's name, "" for one of size one of no plate, None in an event.

        A computed value does not say how many of its axes are its event's: as few as leave only plates' axes.
        """
        node = self.nodes[name]
        shape = node["value"].shape
        if name not in self.computed:
            event_dim = node["fn"].event_dim
            return [*_batch_axes(node, shape[: len(shape) - event_dim]), *[None] * event_dim]
        for event_dim in range(len(shape)):
            found = _batch_axes(node, shape[: len(shape) - event_dim])
            if None not in found:
                return [*found, *[None] * event_dim]
        return [None] * len(shape)

    def check_values(self, batch: Batch) -> None:
        """Refuse observed values outside their supports.

        Raises:
            DataError: for the first; it names site, row, value and support.
        """
        raise_first(check_observed(PairSites({name: self.nodes[name] for name in self.observed}, {}, batch)), "draw")

    def plates(self) -> dict[str, int]:
        """The sizes of the vectorised plates, by name."""
        frames = [frame for node in self.nodes.values() for frame in node["cond_indep_stack"]]
        return {frame.name: frame.size for frame in frames if frame.vectorized}


def _batch_axes(node: Any, shape: Sequence[int]) -> list[str | None]:
    plates = {frame.dim: frame for frame in node["cond_indep_stack"] if frame.vectorized}
    found: list[str | None] = []
    for axis, size in enumerate(shape):
        frame = plates.get(axis - len(shape))
        found.append(frame.name if frame is not None and frame.size == size else "" if size == 1 else None)
    return found


def outline(program: Program, batch: Batch, given: Mapping[str, Tensor]) -> Outline:
    """Run the model once on `batch`, with latents at `given` values and the others drawn from their priors."""
    with Substitute(dict(given)):
        return Outline(poutine.trace(program.model).get_trace(**batch))


def other_value(node: Any) -> Tensor:
    """A value for a site that is nowhere the one it has."""
    fn, value = node["fn"], node["value"]
    if not fn.has_enumerate_support:
        drawn: Tensor = fn.sample()
        return drawn
    support = fn.enumerate_support(expand=True)
    is_next = (support == value).reshape(*support.shape[: support.dim() - fn.event_dim], -1).all(-1)
    following = (is_next.int().argmax(0) + 1) % len(support)
    index = following.reshape(1, *following.shape, *(1,) * fn.event_dim).expand(1, *support.shape[1:])
    return support.gather(0, index).squeeze(0)


def _is_computed(node: Any) -> bool:
    return bool(node["infer"].get("_deterministic", False))
