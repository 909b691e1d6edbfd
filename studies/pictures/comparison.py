"""Pictures of a comparison: bounds against time, posteriors side by side, a pair plot."""

from __future__ import annotations

__all__ = ["bound_against_time", "evidence", "posterior_forest", "posterior_pair"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jensen.inference.errors import ConfigurationError

from .style import FAINT, INK, colour, figure, headline, styled
from .style import label as name_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@styled
def bound_against_time(histories: Mapping[str, Sequence[pandas.DataFrame]], title: str = "") -> Figure:
    """Draw the bound per datum (nats) against seconds of fitting, one colour per method, one line per seed.

    Time is on a logarithmic axis; the lowest tenth of every curve, the first climb, is cut off.

    Args:
        histories: ``{method: [fit.history, …]}`` with the columns ``seconds`` and ``bound_per_datum``.
    """
    if not any(len(history) for runs in histories.values() for history in runs):
        raise ConfigurationError("`histories`: expected at least one history with rows, got none.")
    from matplotlib.ticker import LogLocator, NullFormatter

    picture = figure(7.5, 4.5)
    axes = picture.add_subplot()
    low, high = [], []
    for index, (label, runs) in enumerate(histories.items()):
        for number, history in enumerate(runs):
            seconds, bound = (history[name].to_numpy(float) for name in ("seconds", "bound_per_datum"))
            fade = 1.0 if len(runs) == 1 else 0.7
            axes.plot(seconds, bound, color=colour(index), alpha=fade, label=name_of(label) if number == 0 else None)
            axes.plot(seconds[-1:], bound[-1:], "o", color=colour(index), markersize=4)
            finite = bound[np.isfinite(bound)]
            if finite.size:
                low.append(np.quantile(finite, 0.1))
                high.append(finite.max())
    if low and max(high) > min(low):
        margin = 0.06 * (max(high) - min(low))
        axes.set_ylim(min(low) - margin, max(high) + margin)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y")
    axes.set(xlabel="time of the fit (seconds)", ylabel="bound (nats per datum)", title=title or "Bound against time")
    if len(histories) > 1:
        picture.legend(loc="outside lower center", ncols=min(len(histories), 3), fontsize=9)
    return picture


@styled
def evidence(frame: pandas.DataFrame, title: str = "Evidence and bound") -> Figure:
    """Draw, a line a method, the ELBO (open) and the importance-weighted log evidence (filled, ± 2 standard errors).

    Args:
        frame: the frame of one or more studies, of one model.
    """
    methods = list(dict.fromkeys(frame["method"]))
    picture = figure(7.5, 1.6 + 0.4 * len(methods))
    axes = picture.add_subplot()
    for index, method in enumerate(methods):
        rows = frame[frame["method"] == method]
        level = np.full(len(rows), index) + np.linspace(-0.15, 0.15, len(rows)) * (len(rows) > 1)
        if "elbo_per_datum" in rows:
            axes.plot(rows["elbo_per_datum"], level, "o", mfc="white", mec=colour(index), ms=7, zorder=2)
            axes.plot([], [], "o", mfc="white", mec=INK, ms=7, label=None if index else "ELBO")
            ends = rows["elbo_per_datum"], rows["log_evidence_per_datum"]
            axes.hlines(level, *ends, color=colour(index), alpha=0.4, linewidth=1.5, zorder=1)
        bars = {"xerr": 2 * rows["log_evidence_stderr"], "color": colour(index), "markersize": 7, "zorder": 3}
        axes.errorbar(rows["log_evidence_per_datum"], level, fmt="o", capsize=3, elinewidth=1.2, **bars)
    axes.set_yticks(range(len(methods)), [name_of(method) for method in methods])
    axes.invert_yaxis()
    axes.margins(y=0.6 / max(len(methods), 1))
    axes.grid(axis="x")
    label = "importance-weighted log evidence ± 2 standard errors"
    axes.plot([], [], "o-", color=INK, ms=7, linewidth=1.2, label=label)
    axes.set(xlabel="nats per datum", title=title)
    picture.legend(loc="outside lower center", ncols=2, fontsize=9)
    return picture


@styled
def posterior_forest(
    posteriors: Mapping[str, Any], variable: str, names: Sequence[str] | None = None, title: str = "", largest: int = 12
) -> Figure:
    """Draw medians with 50 % and 94 % intervals of a vector-valued latent, the methods side by side.

    Args:
        posteriors: ``{method: InferenceData}`` from ``fit.to_arviz()``.
        variable: the latent's name in the group ``posterior``.
        names: what its coordinates are called, e.g. the features.
        largest: only this many coordinates are shown, those whose mean is farthest from zero, in standard deviations.
    """
    draws = {label: _draws(data, variable) for label, data in posteriors.items()}
    first = next(iter(draws.values()))
    names = [f"{variable}[{index}]" for index in range(first.shape[1])] if names is None else list(names)
    strength = np.abs(first.mean(0)) / first.std(0).clip(1e-12)
    shown = np.argsort(-strength, kind="stable")[:largest]
    shown = shown[np.argsort(first.mean(0)[shown])]
    picture = figure(7.5, 1.3 + len(shown) * max(0.3, 0.11 * len(draws)))
    axes = picture.add_subplot()
    axes.axvline(0.0, color=FAINT, linewidth=1.0, zorder=0)
    spread = np.linspace(0.3, -0.3, len(draws)) if len(draws) > 1 else np.zeros(1)
    rows = np.arange(len(shown))
    for index, (label, values) in enumerate(draws.items()):
        levels = np.quantile(values[:, shown], (0.03, 0.25, 0.5, 0.75, 0.97), axis=0)
        low, first_quarter, middle, last_quarter, high = levels
        level = rows + spread[index]
        axes.hlines(level, low, high, color=colour(index), linewidth=1.0)
        axes.hlines(level, first_quarter, last_quarter, color=colour(index), linewidth=2.8)
        axes.plot(middle, level, "o", color=colour(index), markersize=3.5, label=name_of(label))
    axes.set_yticks(rows, [name_of(names[index]) for index in shown], fontsize=9)
    axes.set_ylim(-0.7, len(shown) - 0.3)
    axes.grid(axis="y")
    note = f"; the {len(shown)} of {first.shape[1]} farthest from zero" if len(shown) < first.shape[1] else ""
    axes.set(xlabel=f"{variable} (median, 50 % and 94 % interval{note})", title=title or f"Posterior of {variable}")
    picture.legend(loc="outside lower center", ncols=min(len(draws), 3), fontsize=9)
    return picture


@styled
def posterior_pair(
    posteriors: Mapping[str, Any],
    variable: str,
    coordinates: Sequence[int],
    names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw 50 % and 90 % contours of the joint posterior of a few coordinates, the methods over one another.

    Contours are those of a Gaussian kernel density; the diagonal has the marginal densities.

    Args:
        posteriors: ``{method: InferenceData}`` from ``fit.to_arviz()``; three or four are readable.
        coordinates: the indices of at most six coordinates of ``variable``.
        names: what all coordinates of ``variable`` are called.
    """
    from matplotlib.lines import Line2D

    draws = {label: _draws(data, variable)[:, list(coordinates)] for label, data in posteriors.items()}
    labels = [names[index] if names is not None else f"{variable}[{index}]" for index in coordinates]
    size = len(labels)
    picture = figure(2.1 * size + 0.6, 2.1 * size + 0.6)
    grid = picture.subplots(size, size, squeeze=False, sharex="col")
    for row in range(size):
        for column in range(size):
            axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
                continue
            for index, values in enumerate(draws.values()):
                if row == column:
                    _density(axes, values[:, row], colour(index))
                else:
                    _contours(axes, values[:, column], values[:, row], colour(index))
            if 0 < column < row:
                axes.sharey(grid[row, 0])
            if column > 0:
                axes.tick_params(labelleft=False)
            if row == column:
                axes.set_ylim(bottom=0.0, top=1.05 * axes.dataLim.y1)
                axes.set_yticks([])
                axes.spines["left"].set_visible(False)
            if row == size - 1:
                axes.set_xlabel(labels[column], fontsize=9)
            if column == 0 and row > 0:
                axes.set_ylabel(labels[row], fontsize=9)
            axes.tick_params(labelsize=8)
    headline(picture, title or f"Joint posterior of {variable}")
    handles = [Line2D([], [], color=colour(index)) for index in range(len(draws))]
    picture.legend(
        handles,
        list(map(name_of, draws)),
        loc="upper right",
        bbox_to_anchor=(0.99, 0.93),
        title="50 % and 90 % contours",
    )
    return picture


def _draws(data: Any, variable: str) -> np.ndarray:
    """Return the draws of ``variable`` as ``(draws, coordinates)``."""
    if variable not in data.posterior:
        known = ", ".join(f"`{name}`" for name in data.posterior.data_vars)
        raise ConfigurationError(f"`variable`: expected one of {known}, got `{variable}`.")
    values = np.asarray(data.posterior[variable])
    return values.reshape(values.shape[0] * values.shape[1], -1)


def _density(axes: Any, values: np.ndarray, shade: str) -> None:
    import arviz

    grid, density = arviz.kde(values)
    axes.plot(grid, density, color=shade, linewidth=1.5)
    axes.fill_between(grid, density, color=shade, alpha=0.08)


def _contours(axes: Any, x: np.ndarray, y: np.ndarray, shade: str) -> None:
    """Draw the contours that hold 50 % and 90 % of a kernel density's mass."""
    draws = np.stack([x, y])[:, :: max(1, len(x) // 1000)]
    limits = [np.quantile(v, (0.001, 0.999)) + 0.15 * np.ptp(v) * np.array([-1, 1]) for v in (x, y)]
    mesh = np.meshgrid(*(np.linspace(limit[0], limit[1], 60) for limit in limits))
    # A Gaussian kernel of 0.4 standard deviations along the principal axes of the draws.
    whiten = np.linalg.inv(np.linalg.cholesky(np.cov(draws)) * 0.4)
    points, centres = whiten @ np.stack([part.ravel() for part in mesh]), whiten @ draws
    distances = (points**2).sum(0)[:, None] + (centres**2).sum(0) - 2 * points.T @ centres
    density = np.exp(-0.5 * distances).sum(1)
    ordered = np.sort(density)[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    levels = sorted({float(ordered[np.searchsorted(mass, share)]) for share in (0.9, 0.5)})
    surface = density.reshape(mesh[0].shape)
    axes.contour(*mesh, surface, levels=levels, colors=shade, linewidths=(1.0, 1.6)[: len(levels)])
