"""The check of a finished fit: whether its guide's means and standard deviations can be relied on."""

from __future__ import annotations

__all__ = ["reliability_of", "untouched"]

import dataclasses
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..diagnostics.reliability import examine_reliability
from ..diagnostics.weights.scoring import scored
from ..fit.fit import Fit
from ..pair.eager_run import kept_buffers
from ..pair.plain_state import PlainState, kept
from ..pair.terms import evaluate
from ..seeding import derive_seed

_MOST_DRAWS, _FEWEST_DRAWS = 4_000, 1_000
_MOST_LATENTS = 2_000  # numbers; of more, no guide has weights with a k-hat below its threshold
_CHEAP, _SMALL = 1e8, 4e8  # draws times numbers of data: parts of a second, and a second or two


def reliability_of(fit: Fit, work: float) -> dict[str, Any] | None:
    """What `fit.info["reliability"]` says, as plain values; None where there is no check.

    A default guide that draws global latents alone is checked, of a fit that holds its data, with 4,000 draws; where
    the data are larger, with as many as steps were made (but 1,000), for a part of their cost. The draws are a function
    of the fit's seed; nothing of the fit is changed.

    Args:
        fit: just made.
        work: steps of the fit times the data of each.
    """
    if getattr(fit.guide, "local_latents", None) != () or fit.data is None:
        return None
    try:
        with untouched(fit):
            draws = _draws(fit, work)
            if not draws:
                return None
            if _runs_one_by_one(fit):
                draws = _FEWEST_DRAWS
            found = examine_reliability(fit, seed=derive_seed(fit.seed, "reliability"), num_draws=draws)
    except Exception:  # whatever a user's program raises; scores of the fit say what it is
        return None
    if found is None:
        return None
    return {name: _plain(value) for name, value in dataclasses.asdict(found).items()}


def _runs_one_by_one(fit: Fit) -> bool:
    """Whether vmap cannot run the program, as a run of two particles shows."""
    with scored(fit, draw_discrete=True) as pair:
        evaluate(pair.program, pair.rows(), num_particles=2, seed=0)
        fit.program.loop_over_particles |= pair.program.loop_over_particles
    return bool(fit.program.loop_over_particles)


@contextmanager
def untouched(fit: Fit) -> Iterator[None]:
    """Inside, the fit's program may run: nothing of it is changed, and it warns of nothing."""
    state = PlainState(fit.program.roots).places.values()
    with warnings.catch_warnings(), kept_buffers(fit.program), kept(state):
        warnings.simplefilter("ignore")
        yield


def _draws(fit: Fit, work: float) -> int:
    """How many draws a check may take; 0 for none."""
    latents = sum(
        math.prod((*(size for _, size in site.plates), *site.event_shape)) for site in fit.structure.select("latent")
    )
    assert fit.data is not None
    row = sum(value[0].numel() for value in fit.data.values())
    numbers = fit.data_size * row
    draws = _MOST_DRAWS
    if draws * numbers > _CHEAP:
        steps = int(fit.info.get("steps") or _MOST_DRAWS)
        draws = min(_MOST_DRAWS, max(_FEWEST_DRAWS, steps), int(max(_SMALL, work * row) / numbers))
    return draws if 0 < latents <= _MOST_LATENTS and draws >= _FEWEST_DRAWS else 0


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and math.isnan(value) else value
