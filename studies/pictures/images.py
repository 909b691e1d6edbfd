"""Images in rows and grids: data, reconstructions, samples."""

from __future__ import annotations

__all__ = ["draw_image", "image_grid", "reconstructions"]

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import as_array, figure, headline, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def reconstructions(rows: Mapping[str, Any], shape: tuple[int, ...], title: str = "Reconstructions") -> Figure:
    """Draw rows of images under one another: the data and what each method makes of them.

    Args:
        rows: ``{label: (M, D) images in [0, 1]}``; all of the same M.
        shape: (height, width), or (3, height, width) for images in red, green and blue, with D numbers in all.
    """
    images = {label: as_array(row) for label, row in rows.items()}
    count = len(next(iter(images.values())))
    picture = figure(1.9 + 0.62 * count, 0.4 + 0.6 * len(images))
    grid = picture.subplots(len(images), count, squeeze=False)
    for line, (label, row) in enumerate(images.items()):
        for column in range(count):
            _show(grid[line, column], row[column], shape)
        grid[line, 0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=8)
    headline(picture, title)
    return picture


@styled
def image_grid(images: Any, shape: tuple[int, ...], columns: int = 12, title: str = "Samples from the prior") -> Figure:
    """Draw ``(M, D)`` images in a grid of ``columns``; `shape` as in `reconstructions`."""
    images = as_array(images)
    lines = -(-len(images) // columns)
    picture = figure(0.25 + 0.58 * columns, 0.45 + 0.58 * lines)
    grid = picture.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_axis_off()
    for axes, image in zip(grid.flat, images, strict=False):
        _show(axes, image, shape)
    headline(picture, title)
    return picture


def draw_image(axes: Any, image: Any, shape: tuple[int, ...]) -> None:
    """Draw the numbers of one image: (height, width) as ink on white, (3, height, width) as red, green and blue."""
    image = as_array(image).reshape(shape)
    if len(shape) == 3:
        axes.imshow(np.moveaxis(image, 0, -1).clip(0.0, 1.0), interpolation="nearest")
    else:
        axes.imshow(image, cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")


def _show(axes: Any, image: np.ndarray, shape: tuple[int, ...]) -> None:
    draw_image(axes, image, shape)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#D0D0D0")
