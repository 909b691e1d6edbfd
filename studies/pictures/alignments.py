"""Pictures of a protein family: its sequences in latent space, and what each mutation costs."""

from __future__ import annotations

__all__ = ["alignment_picture", "mutation_heat_map", "sequence_map"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jensen.inference.errors import ConfigurationError

from .style import INK, as_array, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Letters with like side chains stand together.
ORDER = "AVILMCFYWHKRDENQSTGP"


@styled
def sequence_map(means: Any, shade: Any, label: str = "", title: str = "Sequences in latent space") -> Figure:
    """Draw the first two coordinates of ``(N, L)`` posterior means, coloured by a number for each sequence ``(N,)``."""
    picture = figure(6.6, 5.0)
    _map(picture, picture.add_subplot(), means, shade, label, title)
    return picture


@styled
def mutation_heat_map(
    matrix: Any,
    wild_type: str,
    letters: str = "ACDEFGHIKLMNPQRSTVWY",
    positions: Sequence[int] | None = None,
    title: str = "log p(mutant) - log p(wild type), in nats",
) -> Figure:
    """Draw a scan's matrix ``(columns, letters)``; a dot marks the wild type's letter."""
    picture = figure(1.5 + 0.19 * len(wild_type), 4.6)
    _heat(picture, picture.add_subplot(), matrix, wild_type, letters, positions, title)
    return picture


@styled
def alignment_picture(means: Any, shade: Any, label: str, matrix: Any, wild_type: str, letters: str) -> Figure:
    """Draw the map above the heat map."""
    picture = figure(max(7.5, 1.5 + 0.17 * len(wild_type)), 8.6)
    upper, lower = picture.subplots(2, 1, height_ratios=[1.15, 1.0])
    _map(picture, upper, means, shade, label, "Sequences in latent space")
    upper.set_aspect("auto")
    title = "Every single mutation of the wild type: log p(mutant) - log p(wild type), in nats"
    _heat(picture, lower, matrix, wild_type, letters, None, title)
    return picture


def _map(picture: Figure, axes: Any, means: Any, shade: Any, label: str, title: str) -> None:
    means, shade = as_array(means), as_array(shade)
    if means.ndim != 2 or means.shape[1] < 2 or len(shade) != len(means):
        raise ConfigurationError(
            f"`means`: expected (N, L) with at least two latent dimensions and `shade` (N,), got {means.shape} and "
            f"{shade.shape}."
        )
    order = np.argsort(shade)
    points = axes.scatter(*means[order, :2].T, c=shade[order], s=7, cmap="viridis", alpha=0.8, linewidth=0)
    bar = picture.colorbar(points, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    axes.set(title=title, xlabel="E[z | x], first dimension", ylabel="E[z | x], second dimension")
    axes.set_aspect("equal", adjustable="datalim")


def _heat(
    picture: Figure, axes: Any, matrix: Any, wild_type: str, letters: str, positions: Sequence[int] | None, title: str
) -> None:
    matrix = as_array(matrix)
    if matrix.shape != (len(wild_type), len(letters)):
        raise ConfigurationError(
            f"`matrix`: expected (columns, letters) = {(len(wild_type), len(letters))}, got {matrix.shape}."
        )
    shown = [letter for letter in ORDER if letter in letters] + [letter for letter in letters if letter not in ORDER]
    grid = matrix[:, [letters.index(letter) for letter in shown]].T
    reach = max(float(np.quantile(np.abs(matrix), 0.98)), 1e-6)
    picture_of = axes.imshow(grid, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest")
    bar = picture.colorbar(picture_of, ax=axes, fraction=0.04, pad=0.02, extend="both")
    bar.outline.set_visible(False)
    own = [(k, shown.index(letter)) for k, letter in enumerate(wild_type) if letter in shown]
    axes.scatter([k for k, _ in own], [row for _, row in own], s=5, color=INK, linewidth=0)
    places = list(range(1, len(wild_type) + 1)) if positions is None else list(positions)
    ticks = [k for k in range(len(places)) if k == 0 or places[k] % 5 == 0]
    axes.set_xticks(ticks, [f"{places[k]}\n{wild_type[k]}" for k in ticks], fontsize=8)
    axes.set_yticks(range(len(shown)), shown, fontsize=7)
    axes.tick_params(length=0)
    axes.set(title=title, xlabel="column, and the wild type's letter there")
