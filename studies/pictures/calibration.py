"""Pictures of a calibration: how far the ranks of each quantity are from uniform."""

from __future__ import annotations

__all__ = ["calibration_bands"]

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jensen.inference.errors import ConfigurationError

from .style import FAINT, colour, figure, headline, styled
from .style import label as name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jensen.inference import Calibration

_COLUMNS = 3


@styled
def calibration_bands(
    calibration: Calibration | dict[str, Calibration],
    quantities: Sequence[str] | None = None,
    level: float = 0.95,
    largest: int = 9,
    title: str = "",
) -> Figure:
    """Draw the empirical distribution of the ranks less the uniform one, a panel a quantity, over its band.

    Points outside of the band are dotted. A line above it at the left and below it at the right has too many truths
    outside of the draws, which are too narrow; the other way round they are too wide. One that is above all along has
    too many truths below the draws, which are too high.

    Args:
        calibration: what `simulation_based_calibration` returned, or several, ``{method: calibration}``, over the same
            quantities; the band is that of the first.
        quantities: those to draw; by default the worst of any, at most `largest`.
        level: of the bands, each of which holds all points of uniform ranks together with this probability.
        largest: how many to draw at most.

    Raises:
        ConfigurationError: nothing to draw, or a quantity that was not ranked.
    """
    several = calibration if isinstance(calibration, dict) else {calibration.method: calibration}
    if not several:
        raise ConfigurationError("`calibration`: expected at least one, got none.")
    shown = _worst(list(several.values()))[:largest] if quantities is None else list(quantities)
    if not shown:
        raise ConfigurationError("`quantities`: expected at least one, got none.")
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    picture = figure(2.7 * columns + 0.6, 2.3 * rows + 1.0)
    panels = picture.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    for place, axes in enumerate(panels):
        if place >= len(shown):
            axes.axis("off")
            continue
        axes.axhline(0.0, color=FAINT, linewidth=1.0, zorder=1)
        for index, (label, found) in enumerate(several.items()):
            _draw(axes, found, shown[place], level, name_of(label), index)
        axes.set_title(name_of(shown[place]), fontsize=10)
        axes.set_xticks([0.0, 0.5, 1.0])
        if place % columns == 0:
            axes.set_ylabel("ECDF less uniform")
        if place + columns >= len(shown):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("rank / draws")
    handles, labels = picture.axes[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), fontsize=9)
    first = next(iter(several.values()))
    headline(picture, title or f"Calibration on {first.model}: {first.num_simulations:,} simulations")
    return picture


def _draw(axes: Any, found: Calibration, quantity: str, level: float, label: str, index: int) -> None:
    frame = found.ecdf(quantity, level)
    at = [0.0, *frame["place"], 1.0]
    lower, difference, upper = ([0.0, *frame[name], 0.0] for name in ("lower", "difference", "upper"))
    if index == 0:
        band = f"{100 * level:g} % of uniform ranks stay inside"
        axes.fill_between(at, lower, upper, color=FAINT, alpha=0.35, linewidth=0, zorder=0, label=band)
    axes.plot(at, difference, color=colour(index), linewidth=1.4, zorder=2, label=label)
    outside = (frame["difference"] < frame["lower"]) | (frame["difference"] > frame["upper"])
    if outside.any():
        axes.plot(
            frame["place"][outside], frame["difference"][outside], "o", color=colour(index), markersize=2.6, zorder=3
        )


def _worst(several: list[Calibration]) -> list[str]:
    """The quantities that all have, by their smallest p-value, the smallest first."""
    shared = [name for name in several[0].quantities if all(name in found.quantities for found in several)]
    tables = [found.table.set_index("quantity")["p_value"] for found in several]
    return sorted(shared, key=lambda name: min(float(table[name]) for table in tables))
