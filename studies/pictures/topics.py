"""Pictures of topics."""

from __future__ import annotations

__all__ = ["topic_bars"]

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .style import colour, figure, headline, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def topic_bars(
    topics: Any,
    vocabulary: Sequence[str],
    shares: Any = None,
    num: int = 8,
    columns: int = 4,
    title: str = "Topics",
    label: str = "probability",
) -> Figure:
    """Each topic's largest words as bars.

    Args:
        topics: probabilities of the words, or other weights, ``(K, V)``.
        vocabulary: the V words.
        shares: of the topics in the documents, ``(K,)``, to be written above each.
        num: words a topic.
        columns: topics side by side.
        title: above all.
        label: what the bars are.
    """
    rows = -(-len(topics) // columns)
    picture = figure(2.4 * columns, 0.4 + (0.35 + 0.2 * num) * rows)
    headline(picture, title)
    grid = picture.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for index, axes in enumerate(grid):
        if index >= len(topics):
            axes.set_visible(False)
            continue
        weights, words = topics[index].topk(num)
        axes.barh(range(num), weights.tolist(), color=colour(index), height=0.75)
        axes.set_yticks(range(num), [vocabulary[word] for word in words.tolist()])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.tick_params(axis="x", labelsize=7)
        if shares is not None:
            axes.set_title(f"share {float(shares[index]):.0%}", fontsize=8.5, fontweight="normal")
    for axes in grid[-columns:]:
        axes.set_xlabel(label, fontsize=8)
    return picture
