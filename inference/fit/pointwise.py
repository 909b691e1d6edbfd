"""Each datum's log likelihood, given draws of the latents."""

from __future__ import annotations

__all__ = ["data_plate", "pointwise"]

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..pair.discrete.sum_product import Factor, factor_of, sum_out
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.particles import map_particles
from ..pair.program import Program
from ..pair.trace import enumerated_model
from ..tensors import Batch, Tensors
from .model_outline import Outline, outline


def data_plate(program: Program, batch: Batch, seen: Outline) -> str | None:
    """The plate of the data: ``"data"``; else the one that has the batch's size, and follows it; None without any."""
    plates, size = seen.plates(), len(next(iter(batch.values())))
    if DATA_PLATE in plates:
        return DATA_PLATE
    around = {frame.name for name in seen.observed for frame in seen.nodes[name]["cond_indep_stack"]}
    found = [name for name in plates if plates[name] == size and name in around]
    if len(found) > 1 and size > 1:
        try:
            fewer = outline(program, {name: value[:-1] for name, value in batch.items()}, {}).plates()
        except (RuntimeError, ValueError, IndexError, NotImplementedError):
            return found[0]
        found = [name for name in found if fewer.get(name) == size - 1] or found
    return found[0] if found else None


def pointwise(
    program: Program, batch: Batch, latents: Tensors, count: int, seen: Outline, plate: str | None, nesting: int
) -> Tensors:
    r"""Log likelihoods of `count` draws, unscaled, by observed site and local `pyro.factor`.

    .. math:: \log p(x_n \mid z, \theta), \qquad\text{or}\qquad
       \log \sum_c p(x_n, c, z \mid \theta) - \log \sum_c p(c, z \mid \theta)

    where discrete latents `c` of the data plate that have no draws in `latents` are summed out. Sites that depend on
    those share one entry, whose name is theirs joined by ``"_"``.

    Args:
        latents: draws ``(count, *site shape)`` of all other latents.
        seen: the model's sites on `batch`.
        plate: of the data; without one every value is the total.
        nesting: how many batch dimensions plates occupy.

    Returns:
        ``(count, N)`` by the program's own name of the site, or ``(count,)`` for sites outside of the data plate.
    """
    summed = frozenset(n for n in seen.latents if n not in latents and seen.nodes[n]["fn"].has_enumerate_support)
    known = frozenset(latents)

    def one(values: Tensors) -> Tensors:
        trace = enumerated_model(program, batch, values, summed, nesting)
        trace.symbolize_dims()
        symbols = {trace.nodes[name]["infer"]["_enumerate_symbol"] for name in summed}
        data = trace.plate_to_symbol.get(plate) if plate else None
        names = [*seen.observed, *seen.factors, *(n for n in seen.latents if n in known or n in summed)]
        factors = {n: factor_of(trace.nodes[n], trace.plate_to_symbol, masked=n not in summed) for n in names}
        held = {name: factor for name, factor in factors.items() if not symbols.isdisjoint(factor.dims)}
        found: Tensors = {}
        for name in [*seen.observed, *seen.factors]:
            local = data in factors[name].ordinal
            if name not in held and (local or name in seen.observed):
                found[seen.own_name(name)] = _by_datum(factors[name], data if local else None, trace.nodes[name])
        group = [name for name in held if name in seen.observed or name in seen.factors]
        if group:
            rest = [factor for name, factor in held.items() if name not in group]
            target = frozenset({data} if data else ())
            node = trace.nodes[group[0]]
            total = _by_datum(sum_out(list(held.values()), symbols, target), data, node)
            prior = _by_datum(sum_out(rest, symbols, target), data, node)
            found["_".join(seen.own_name(n) for n in group)] = total - prior
        return found

    return map_particles(program, one, count, None, latents)


def _by_datum(factor: Factor, data: str | None, node: Mapping[str, Any]) -> Tensor:
    """Summed over every plate but the data's: ``(N,)``, or a scalar."""
    others = [axis for axis, symbol in enumerate(factor.dims) if symbol != data]
    tensor = factor.tensor.sum(others) if others else factor.tensor
    if data is None or data in factor.dims:
        return tensor
    dim = next(dim for dim, symbol in node["infer"]["_dim_to_symbol"].items() if symbol == data)
    return tensor.expand(next(frame.size for frame in node["cond_indep_stack"] if frame.dim == dim))
