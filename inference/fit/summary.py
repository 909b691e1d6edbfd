"""A table of a fit's latents, with what their draws can be asked for."""

from __future__ import annotations

__all__ = ["summary"]

from typing import TYPE_CHECKING, Any

from .arviz import to_arviz
from .record import FitRecord

if TYPE_CHECKING:
    import pandas


def summary(fit: FitRecord, num: int | None, seed: int, data: Any, **options: Any) -> pandas.DataFrame:
    """See :meth:`Fit.summary`."""
    import arviz

    stored = None if fit.draws is None else len(next(iter(fit.draws.values())))
    drawn = to_arviz(fit, num or stored or 4_000, seed, data, log_likelihood=False)
    chains = drawn["posterior"].sizes["chain"]
    return arviz.summary(drawn, **{"kind": "all" if chains > 1 else "stats", **options})
