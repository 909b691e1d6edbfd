"""Check that summing a discrete latent out gives what the program gives at each of its values."""

from __future__ import annotations

__all__ = ["check_enumeration"]

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import JensenError
from .bound_pair import BoundPair
from .densities.site_densities import log_prob_of
from .eval_mode import evaluation_mode
from .findings.finding import Finding
from .findings.pair_sites import is_ignored
from .sites import Structure
from .trace import JointTrace

_SEEDS = (0, 1, 2)
_TOLERANCE = 1e-3


def check_enumeration(
    program: BoundPair, structure: Structure, batch: Mapping[str, Any], args: tuple[Any, ...] = ()
) -> Iterator[Finding]:
    """Draw the discrete latents once, and compare each density with the entry of the enumerated one at those values.

    Under enumeration a latent has all its values along a dimension of its own, on the left, and size 1 or nothing where
    a plate would be. A program that sums, averages or shifts it over a plate then does so to one value, and the sum
    over its values is that of another model.
    """
    names = frozenset(site.name for site in structure.sites.values() if site.enumerated == "model")
    if not names:
        return
    for seed in _SEEDS:
        with evaluation_mode(program, seed), program.environment():
            try:
                drawn, enumerated, symbols = _runs(program, structure, batch, args, names)
            except (JensenError, RuntimeError, ValueError, IndexError, KeyError, NotImplementedError):
                return  # a program that cannot be enumerated says so where it is
            if drawn is None:
                return
            width = structure.max_plate_nesting
            index = {symbols[n]: _index(enumerated[n], drawn[n]["value"], width) for n in names if symbols.get(n)}
            for name, node in enumerated.items():
                if name in drawn and not _agrees(node, drawn[name], index, width):
                    yield _disagrees(name, names)
                    return
            if not any(place.numel() > 1 and bool((place == place.flatten()[0]).all()) for place in index.values()):
                return  # values that are all alike are alike in any order: draw others


def _disagrees(name: str, enumerated: frozenset[str]) -> Finding:
    listed = ", ".join(f"`{n}`" for n in sorted(enumerated))
    return Finding(
        "enumerated-over-plate",
        name,
        f"The density of `{name}` with the values of {listed} summed out is not the one that the program gives at "
        f"those values: it sums, averages or shifts a discrete latent over a plate, along which the latent has no size "
        f"while it is enumerated.",
        f"Make each value depend on its own entry of the plate only; or marginalise {listed} by hand; or draw it in "
        f"the guide with `Trace_ELBO`.",
    )


def _runs(
    program: BoundPair, structure: Structure, batch: Mapping[str, Any], args: tuple[Any, ...], names: frozenset[str]
) -> tuple[Any, Any, dict[str, str]]:
    """The model's sites at one draw, the same enumerated, and the symbol of each enumerated latent's dimension."""
    plain = JointTrace(program, structure, batch, args)
    guide = plain.guide({})
    model = plain.model(guide, {})
    values = {n: node["value"] for n, node in model.nodes.items() if not is_ignored(node) and not node["is_observed"]}
    again = plain.model(guide, values)
    drawn = {name: node for name, node in model.nodes.items() if not is_ignored(node)}
    for name, node in drawn.items():
        here, there = log_prob_of(node), log_prob_of(again.nodes[name])
        if not torch.equal(here.nan_to_num(), there.nan_to_num()):
            return None, None, {}  # noise outside of sample sites: nothing can be told
    run = JointTrace(program, structure, batch, args, model_enumerated=names)
    held = {name: value for name, value in values.items() if name not in names}
    trace = run.model(run.guide(held), held)
    trace.symbolize_dims()
    enumerated = {name: node for name, node in trace.nodes.items() if not is_ignored(node)}
    return drawn, enumerated, {name: enumerated[name]["infer"].get("_enumerate_symbol") for name in names}


def _index(node: Any, value: Tensor, width: int) -> Tensor:
    """Which of the latent's values was drawn, over the plates ``(…, width)``."""
    fn = node["fn"]
    support = fn.enumerate_support(expand=False)
    events = tuple(range(-fn.event_dim, 0))
    values = support.reshape((support.shape[0],) + (1,) * (value.dim() - fn.event_dim) + tuple(fn.event_shape))
    same = values == value
    place = (same.all(events) if events else same).to(torch.int64).argmax(0)
    return place.reshape((1,) * (width - place.dim()) + tuple(place.shape))


def _agrees(node: Any, drawn: Any, index: Mapping[str, Tensor], width: int) -> bool:
    """Whether the enumerated density, at the values that were drawn, is the density that was drawn with them."""
    table, expected = log_prob_of(node), log_prob_of(drawn)
    symbol_of = node["infer"]["_dim_to_symbol"]
    table = table.reshape((1,) * (width - table.dim()) + tuple(table.shape))
    extra = table.dim() - width
    used = [(dim, symbol_of.get(dim - table.dim())) for dim in range(extra) if table.shape[dim] > 1]
    plates = torch.broadcast_shapes(table.shape[extra:], expected.shape)
    for _, symbol in used:
        if symbol not in index:
            return True  # a dimension of the guide's: compared under its own name elsewhere
        if torch.broadcast_shapes(plates, index[symbol].shape) != torch.Size(plates):
            return False  # it depends on a latent of a plate that it is outside of
    places = [torch.arange(size).reshape((size,) + (1,) * (len(plates) - i - 1)) for i, size in enumerate(plates)]
    chosen = [torch.zeros((), dtype=torch.int64)] * extra
    for dim, symbol in used:
        chosen[dim] = index[str(symbol)]
    table = table.expand(*table.shape[:extra], *plates)
    found = table[(*(i.to(table.device) for i in chosen), *(i.to(table.device) for i in places))]
    return bool(torch.allclose(found, expected.expand(plates), rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True))
