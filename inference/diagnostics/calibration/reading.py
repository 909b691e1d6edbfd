"""What ranks say, in words: too narrow, too wide, too low, too high; and the printed calibration."""

from __future__ import annotations

__all__ = ["as_text", "holm", "reading"]

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...plain_text import printable
from .ranks import LOG_LIKELIHOOD

_SHOWN, _CLEAR = 8, 3.0  # rows of the table; and standard errors
_WIDEST = 28


def reading(places: np.ndarray) -> str:
    """What shape places have, where their mean or spread is three standard errors from a uniform's; else nothing."""
    size = len(places)
    shift = (places.mean() - 0.5) * math.sqrt(12.0 * size)
    spread = (np.square(places - 0.5).mean() - 1.0 / 12.0) * math.sqrt(180.0 * size)
    found = []
    if abs(spread) > _CLEAR:
        found.append("draws too narrow" if spread > 0 else "draws too wide")
    if abs(shift) > _CLEAR:
        found.append("draws too low" if shift > 0 else "draws too high")
    return ", ".join(found)


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number: all are right together at any level (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return adjusted


def as_text(calibration: Any) -> str:
    """The verdict, the worst quantities, and what to know of the fits."""
    return "\n".join(_lines(calibration))


def _lines(found: Any) -> Iterator[str]:
    how = "one fit, " if found.amortised else ""
    what = printable(f"{found.method} of {found.model}")
    size = f"{found.num_simulations:,} simulations, {found.num_draws} draws"
    yield f"Simulation-based calibration of {what}: {how}{size}"
    yield _verdict(found)
    coverage = found.coverage((0.5, 0.9)).pivot(index="quantity", columns="level", values="coverage")
    table = found.table
    width = max(8, *(len(_name(name)) for name in table["quantity"][:_SHOWN]))
    yield f"  {'quantity':<{width}}  {'p':>8}  {'adjusted':>8}  {'50 %':>5}  {'90 %':>5}"
    for row in table.head(_SHOWN).itertuples():
        half, most = (100.0 * coverage.loc[row.quantity, level] for level in (0.5, 0.9))
        p_values = f"{row.p_value:>8.2g}  {row.p_adjusted:>8.2g}"
        line = f"  {_name(row.quantity):<{width}}  {p_values}  {half:>5.0f}  {most:>5.0f}"
        yield f"{line}  {row.reading}".rstrip()
    if len(table) > _SHOWN:
        yield f"  … and {len(table) - _SHOWN:,} more (`.table`)"
    yield from _of_fits(found)


def _verdict(found: Any) -> str:
    size = found.num_simulations
    worst = found.worst
    if not found.calibrated:
        row = found.table.iloc[0]
        share = 100.0 * float(found.coverage((0.9,)).set_index("quantity").loc[worst, "coverage"])
        what = f": {row.reading}" if row.reading and worst != LOG_LIKELIHOOD else ""
        interval = f"its 90 % intervals hold the truth in {share:.0f} %"
        return f"MISCALIBRATED at `{_name(worst)}`{what}; {interval} (p {found.p_value:.2g})"
    error = 100.0 * math.sqrt(0.09 / size)
    known = f"{size:,} simulations know the coverage of a 90 % interval to +- {error:.1f} %"
    return f"no miscalibration found (p {found.p_value:.2g}); {known}"


def _of_fits(found: Any) -> Iterator[str]:
    if failures := found.failures:
        number, error = next(iter(failures.items()))
        total = len(found.records)
        yield f"  {len(failures):,} of {total:,} fits FAILED and are in no rank, the first (number {number}): {error}"
    if not found.amortised:
        statuses = {status: count for status, count in found.statuses.items() if status not in ("failed", "converged")}
        if statuses:
            yield f"  fits: {', '.join(f'{count:,} {status}' for status, count in statuses.items())}"
        if found.num_unreliable:
            yield f"  {found.num_unreliable:,} fits say that their means or standard deviations cannot be relied on"
    short = [record.num_draws for record in found.records if record.places and record.num_draws < found.num_draws]
    if short:
        yield f"  {len(short):,} fits had fewer independent draws than {found.num_draws}, the least {min(short):,}"
    warned = [record for record in found.records if record.warnings]
    if warned:
        yield f"  {len(warned):,} fits warned, the first: {warned[0].warnings[0]}"
    for note in found.notes:
        yield f"  {note}"


def _name(name: str) -> str:
    shown = printable(name)
    return shown if len(shown) <= _WIDEST else f"{shown[: _WIDEST - 1]}…"
