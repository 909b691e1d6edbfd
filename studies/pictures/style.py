"""How the pictures of a study look: one palette, one set of fonts and lines, no state outside a picture."""

from __future__ import annotations

__all__ = ["FAINT", "INK", "PALETTE", "as_array", "colour", "figure", "headline", "label", "save", "styled"]

import functools
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ParamSpec

import numpy as np

from jensen.inference.plain_text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_P = ParamSpec("_P")

# Okabe and Ito's colours, which readers with any colour vision can tell apart, ordered for white paper.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A4C93", "#7F7F7F")
INK, FAINT = "#222222", "#B8B8B8"
_LONGEST_LABEL, _LONGEST_LINE = 40, 120

_STYLE = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 150,
    "text.parse_math": False,  # a dollar in a label is a dollar
}


def colour(index: int) -> str:
    """Return the palette's colour ``index``, from the start again after the last."""
    return PALETTE[index % len(PALETTE)]


def label(text: Any) -> str:
    """A name from outside as a label: printable, short, and not hidden from a legend by an underscore at its start."""
    shown = _shortened(printable(text), _LONGEST_LABEL)
    return f" {shown}" if shown.startswith("_") else shown


def _shortened(text: str, longest: int) -> str:
    """The start and the end of a text that leaves no room for the picture."""
    return text if len(text) <= longest else f"{text[: longest // 2]}…{text[-(longest // 2 - 1) :]}"


def _lines(text: str) -> str:
    return "\n".join(_shortened(printable(line.expandtabs(4)), _LONGEST_LINE) for line in text.split("\n"))


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Run a drawing function under the style, which is off again when it returns."""

    @functools.wraps(draw)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        import matplotlib
        from matplotlib.text import Text

        with matplotlib.rc_context(_STYLE):
            picture = draw(*args, **kwargs)
        for text in picture.findobj(Text):
            text.set_text(_lines(text.get_text()))
        return picture

    return wrapper


def figure(width: float = 7.0, height: float = 4.5, **options: Any) -> Figure:
    """Return an empty figure of that size in inches; it needs no display and no clean-up."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", **options)


def headline(picture: Figure, title: str) -> None:
    """Write the title of a picture that has several axes."""
    picture.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11, color=INK)


def as_array(value: Any) -> np.ndarray:
    """What a picture is drawn from, a tensor on any device or an array, as NumPy's floats."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, dtype=float)


def save(picture: Figure, target: str | Path | IO[bytes]) -> None:
    """Write ``picture`` as a PNG (or what the suffix of the path says) at 150 dpi."""
    import matplotlib

    if isinstance(target, str | Path):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        picture.savefig(target, dpi=150)
