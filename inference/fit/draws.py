"""Draws from a fit: latents from its posterior approximation, data from its posterior predictive."""

from __future__ import annotations

__all__ = ["pick", "pieces", "posterior_draws", "refuse_too_many", "run_model"]

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..errors import ConfigurationError, DataError
from ..options import check_count
from ..pair.eval_mode import evaluation_mode
from ..pair.particles import map_particles
from ..pair.program import Program
from ..seeding import derive_seed
from .latent_draws import LatentDraws
from .record import FitRecord
from .row_dependence import given_rows

_NUMBERS_AT_ONCE, _ALWAYS_FEW = 2**22, 100_000


def pieces(num: int, numbers: int) -> Iterator[tuple[int, int]]:
    """``(start, how many)`` of each piece of `num` draws that are run together.

    Their size is by how many numbers one draw has, alone, so that draws do not depend on the machine's memory.
    """
    most = max(1, _NUMBERS_AT_ONCE // max(1, numbers))
    for start in range(0, num, most):
        yield start, min(most, num - start)


def refuse_too_many(num: int, one: Callable[[], Mapping[str, Tensor]]) -> None:
    """Check that `num` times what `one` returns, a single draw, fits into the machine's memory, before draws are made.

    Raises:
        ConfigurationError: if it does not.
    """
    if num <= _ALWAYS_FEW:
        return
    needed = num * sum(value.numel() * value.element_size() for value in one().values())
    if needed > (held := _memory()):
        raise ConfigurationError(
            f"`num` is {num:,}: so many draws take {needed / 2**30:,.0f} GiB, and this machine has "
            f"{held / 2**30:,.0f}. Ask for fewer, or for several lots with different `seed`."
        )


def _memory() -> int:
    """Bytes of memory of this machine, or a large number where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**44


def posterior_draws(fit: FitRecord, num: int, data: Any, seed: int) -> dict[str, Tensor]:
    """See :meth:`Fit.posterior`."""
    num = check_count("num", num)
    stored = None if fit.draws is None else pick(fit.draws, num)
    refuse_too_many(num, lambda: posterior_draws(fit, 1, data, seed))
    with evaluation_mode(fit.program, derive_seed(seed, "posterior")), fit.program.environment():
        batch, own = _rows(fit, data)
        latents = LatentDraws(fit, batch, own, stored=stored)
        computed = latents.shared_values() if latents.alone else latents.outline().computed
        parts = []
        for start, count in pieces(num, latents.num_numbers()):
            drawn = latents.draw(start, count)
            parts.append(drawn | run_model(fit.program, latents.batch, drawn, count, computed))
    return {name: torch.cat([part[name] for part in parts]).detach() for name in parts[0]}  # a point is a parameter


def _rows(fit: FitRecord, data: Any) -> tuple[dict[str, Tensor] | None, bool]:
    """The rows whose latents are drawn (None for the global ones alone), and whether they are the training data."""
    if data is not None:
        return given_rows(fit, data)
    latents = fit.structure.select("latent")
    if not latents or fit.draws is not None or any(not site.local for site in latents):
        return None, True
    if fit.data is None:
        raise DataError(
            "`data` must be given: every latent belongs to a datum, and this fit does not hold its training data."
        )
    return fit.batch(), True


def pick(draws: Mapping[str, Tensor], num: int) -> dict[str, Tensor]:
    """`num` of the stored draws, evenly spaced."""
    total = len(next(iter(draws.values())))
    if num > total:
        raise ConfigurationError(f"`num` is {num}, but the fit holds {total} draws. Ask for at most {total}.")
    index = torch.linspace(0, total - 1, num, dtype=torch.float64).round().long()
    return {name: value[index.to(value.device)] for name, value in draws.items()}


def run_model(
    program: Program,
    batch: Mapping[str, Tensor],
    latents: dict[str, Tensor],
    count: int,
    names: list[str],
    redrawn: frozenset[str] = frozenset(),
) -> dict[str, Tensor]:
    """The values ``(count, …)`` of the model's sites `names` at each draw of the latents.

    What has no draw among `latents` is drawn by the model, and so are the observed sites `redrawn`.
    """
    if not names:
        return {}

    def one(values: dict[str, Tensor]) -> dict[str, Tensor]:
        with poutine.condition(data=values), _Redraw(redrawn):
            nodes = poutine.trace(program.model).get_trace(**batch).nodes
        return {name: nodes[name]["value"] for name in names}

    return map_particles(program, one, count, None, latents)


class _Redraw(Messenger):
    """Draw these sites although they are observed."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names = names

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] and msg["name"] in self.names:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False
