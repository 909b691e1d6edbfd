"""Data, mixture components and latents as points and ellipses in a plane."""

from __future__ import annotations

__all__ = ["latent_map", "mixture_ellipses"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jensen.inference.errors import ConfigurationError

from .style import as_array, colour, figure, styled
from .style import label as name_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "osD^vP"


@styled
def mixture_ellipses(
    x: Any,
    means: Any,
    covariances: Any,
    weights: Any = None,
    labels: Any = None,
    names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """Draw data and mixture components on the data's first two principal components.

    A component ``N(m, S)`` is drawn as the 1 and 2 standard deviation ellipses of its marginal
    ``N(P (m - mean(x)), P S P^T)`` in the plane, where the rows of ``P`` are the principal directions.

    Args:
        x: ``(N, D)`` data. means: ``(C, D)``. covariances: ``(C, D, D)``, or ``(C, D)`` for diagonal ones.
        weights: ``(C,)`` mixing weights, written beside the means.
        labels: ``(N,)`` known classes, shown as markers. names: what the classes are called.
    """
    x, means, covariances = as_array(x), as_array(means), as_array(covariances)
    if covariances.ndim == 2:
        covariances = covariances[:, :, None] * np.eye(covariances.shape[1])
    plane, share = _principal(x)
    points, centres = (x - x.mean(0)) @ plane, (means - x.mean(0)) @ plane
    picture = figure(7.0, 5.2)
    axes = picture.add_subplot()
    labels = np.zeros(len(x), int) if labels is None else as_array(labels).astype(int)
    for number, label in enumerate(np.unique(labels)):
        name = f"class {label}" if names is None else names[label]
        marks = {"marker": _MARKERS[number % len(_MARKERS)], "s": 22, "facecolor": "none", "edgecolor": "#8A8A8A"}
        axes.scatter(*points[labels == label].T, linewidth=0.9, label=name_of(name), **marks)
    for index, (centre, covariance) in enumerate(zip(centres, covariances, strict=True)):
        _ellipses(axes, centre, plane.T @ covariance @ plane, colour(index))
        text = f"{index + 1}" if weights is None else f"{as_array(weights)[index]:.0%}"
        box = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": colour(index), "linewidth": 1.2}
        axes.text(*centre, text, color=colour(index), ha="center", va="center", fontsize=9, fontweight="bold", bbox=box)
    axes.set(title=title or "Mixture components on the data")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"first principal component ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second principal component ({share[1]:.0%})")
    axes.autoscale_view()
    if len(np.unique(labels)) > 1:
        picture.legend(loc="outside right upper", title="known class", fontsize=9)
    return picture


@styled
def latent_map(means: Any, labels: Any, names: Sequence[str] | None = None, title: str = "Latent map") -> Figure:
    """Draw posterior means coloured by label; more than two latent dimensions are shown on their first two PCs.

    Args:
        means: ``(N, L)`` means of q(z | x). labels: ``(N,)`` integers, at most ten different ones.
    """
    means, labels = as_array(means), as_array(labels).astype(int)
    if means.ndim != 2 or means.shape[1] < 2:
        raise ConfigurationError(f"`means`: expected (N, L) with at least two latent dimensions, got {means.shape}.")
    if means.shape[1] == 2:
        points, axis_names = means, ["E[z | x], first dimension", "E[z | x], second dimension"]
    else:
        plane, share = _principal(means)
        points = (means - means.mean(0)) @ plane
        axis_names = [f"principal component {k + 1} of E[z | x] ({share[k]:.0%} of the variance)" for k in (0, 1)]
    picture = figure(6.6, 5.4)
    axes = picture.add_subplot()
    import matplotlib

    shades = matplotlib.colormaps["tab10"]
    for label in np.unique(labels):
        chosen = points[labels == label]
        axes.scatter(*chosen.T, s=9, color=shades(label % 10), alpha=0.65, linewidth=0)
        name = str(label) if names is None else names[label]
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.85, "edgecolor": shades(label % 10)}
        axes.text(*np.median(chosen, 0), name, ha="center", va="center", fontsize=9, fontweight="bold", bbox=box)
    axes.set(title=title, xlabel=axis_names[0], ylabel=axis_names[1])
    axes.set_aspect("equal", adjustable="datalim")
    return picture


def _principal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two principal directions ``(D, 2)`` and their shares of the variance; signs are fixed."""
    _, scales, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
    plane = directions[:2].T
    return plane * np.sign(plane[np.abs(plane).argmax(0), [0, 1]]), (scales**2 / (scales**2).sum())[:2]


def _ellipses(axes: Any, centre: np.ndarray, covariance: np.ndarray, shade: str) -> None:
    from matplotlib.patches import Ellipse

    variances, directions = np.linalg.eigh(covariance)
    angle = float(np.degrees(np.arctan2(directions[1, 1], directions[0, 1])))
    height, width = 2 * np.sqrt(variances.clip(0))
    for deviations, alpha in ((1, 0.18), (2, 0.10)):
        size = {"width": deviations * width, "height": deviations * height, "angle": angle}
        axes.add_patch(Ellipse(centre, **size, facecolor=shade, alpha=alpha, linewidth=0))
        axes.add_patch(Ellipse(centre, **size, facecolor="none", edgecolor=shade, linewidth=1.3))
