"""Draws from a fit: latents from its posterior approximation, data from its posterior predictive."""

from __future__ import annotations

__all__ = ["check_count", "particles_at_once", "points_program", "posterior_draws", "predictive_draws"]

import operator
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from torch import Tensor

from .draw_limits import refuse_too_many
from .errors import ConfigurationError, DataError
from .findings.pair_sites import is_ignored
from .fit_context import ready
from .particles import map_particles
from .program import Program
from .seeding import derive_seed

if TYPE_CHECKING:
    from .fit import Fit

_NUMBERS_AT_ONCE = 2**22


def points_program(model: Any, batch: Mapping[str, Tensor]) -> Program:
    """The model with a guide of points, which stored draws are put into."""
    from pyro.infer.autoguide import AutoDelta

    from .guides import build_guide

    with torch.random.fork_rng(devices=[]):
        return Program(model, build_guide(AutoDelta, model, batch))


def check_count(name: str, value: int) -> int:
    """`value` as a positive integer, or a `ConfigurationError`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise ConfigurationError(f"`{name}` must be a positive number of draws, got {value!r}.")
    return number


def particles_at_once(batch: Mapping[str, Tensor]) -> int:
    """How many particles to run together, from the size of the batch alone (so that draws do not depend on memory)."""
    return max(1, _NUMBERS_AT_ONCE // max(1, sum(value.numel() for value in batch.values())))


def pieces(num: int, most: int) -> Iterator[tuple[int, int]]:
    """``(start, how many)`` of each piece of `num` draws."""
    for start in range(0, num, most):
        yield start, min(most, num - start)


def posterior_draws(fit: Fit, num: int, data: Any, seed: int) -> dict[str, Tensor]:
    """See :meth:`Fit.posterior`."""
    num = check_count("num", num)
    if fit.draws is not None:
        return pick(fit.draws, num)
    refuse_too_many(num, lambda: posterior_draws(fit, 1, data, seed))
    program = fit.program
    with ready(program, derive_seed(seed, "posterior")), program.environment():
        names, batch = _wanted(fit, data)
        if not names:
            return {}
        parts = [_guide_draws(program, batch, count, names) for _, count in pieces(num, particles_at_once(batch))]
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def _guide_draws(program: Program, batch: dict[str, Tensor], count: int, names: list[str]) -> dict[str, Tensor]:
    def one(values: dict[str, Tensor]) -> dict[str, Tensor]:
        nodes = poutine.trace(program.guide).get_trace(**batch).nodes
        return {name: nodes[name]["value"] for name in names}

    return map_particles(program, one, count, None, {})


def _wanted(fit: Fit, data: Any) -> tuple[list[str], dict[str, Tensor]]:
    """The latents to draw and the batch to draw them on: global ones do not need the data."""
    if data is not None:
        batch = fit.batch(data)
        return [
            site.name for site in fit.program.structure(batch).select("latent") if site.enumerated != "model"
        ], batch
    structure = fit.structure
    latents = [site for site in structure.select("latent") if site.enumerated != "model"]
    shared = [site.name for site in latents if not site.local]
    if shared or not latents:
        rows = len(next(iter(fit.prototype.values())))
        return shared, fit.stand_in(rows if structure.batch_size in (rows, None) else None)
    if fit.data is None:
        raise DataError(
            "`data` must be given: every latent belongs to a datum, and this fit does not hold its training data."
        )
    return [site.name for site in latents], fit.batch()


def pick(draws: Mapping[str, Tensor], num: int) -> dict[str, Tensor]:
    """`num` of the stored draws, evenly spaced."""
    total = len(next(iter(draws.values())))
    if num > total:
        raise ConfigurationError(f"`num` is {num}, but the fit holds {total} draws. Ask for at most {total}.")
    index = torch.linspace(0, total - 1, num, dtype=torch.float64).round().long()
    return {name: value[index.to(value.device)] for name, value in draws.items()}


def predictive_draws(fit: Fit, data: Any, num: int, seed: int) -> dict[str, Tensor]:
    """See :meth:`Fit.predict`."""
    num = check_count("num", num)
    refuse_too_many(num, lambda: predictive_draws(fit, data, 1, seed))
    observed = [site.name for site in fit.structure.select("observed")]
    program = fit.program
    with ready(program, derive_seed(seed, "predict")), program.environment():
        batch = fit.batch(data, observed=False)
        draws = None if fit.draws is None else pick(fit.draws, num)
        parts = []
        for start, count in pieces(num, particles_at_once(batch)):
            given = {} if draws is None else {name: value[start : start + count] for name, value in draws.items()}
            parts.append(_predict(program, batch, count, given, observed))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _predict(
    program: Program, batch: dict[str, Tensor], count: int, given: dict[str, Tensor], observed: list[str]
) -> dict[str, Tensor]:
    def one(values: dict[str, Tensor]) -> dict[str, Tensor]:
        latents = values
        if not values:
            trace = poutine.trace(program.guide).get_trace(**batch)
            latents = {name: site["value"] for name, site in trace.nodes.items() if not is_ignored(site)}
        conditioned = poutine.condition(poutine.uncondition(program.model), data=latents)
        nodes = poutine.trace(conditioned).get_trace(**batch).nodes
        return {name: nodes[name]["value"] for name in observed if name in nodes}

    return map_particles(program, one, count, None, given)
