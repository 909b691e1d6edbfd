"""One live progress bar for a study: a line over its arms, and a line for the steps of the current fit."""

from __future__ import annotations

__all__ = ["Progress", "progress_display"]

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from jensen.inference.plain_text import printable, rich_text


class Progress:
    """A silent display: what a study reports to. `progress_display` yields one that draws, where that makes sense."""

    def start(self, study: str, *, total: int, done: int) -> None:
        """Announce a study of ``total`` arms, ``done`` of which are finished already."""

    def callbacks(self, label: str) -> Sequence[Any]:
        """Return the callbacks to give to the fit of the arm ``label``."""
        return ()

    def advance(self, label: str, status: str) -> None:
        """Report that the arm ``label`` ended."""

    def note(self, text: str) -> None:
        """Show one line that stays."""


class _Bar(Progress):
    """Rich's progress bar with two lines."""

    def __init__(self, rich_progress: Any) -> None:
        self.rich = rich_progress
        self.study: Any = None
        self.fit: Any = None

    def start(self, study: str, *, total: int, done: int) -> None:
        self.study = self.rich.add_task(printable(study), total=total, completed=done, note="")
        if self.fit is not None:
            self.rich.remove_task(self.fit)
        self.fit = self.rich.add_task("", total=1, visible=False, note="")

    def callbacks(self, label: str) -> Sequence[Any]:
        self.rich.reset(self.fit, description=f"  {_shortened(printable(label))}", visible=True, total=None, note="")

        def report(state: Any) -> None:
            bound = state.row.get("bound_per_datum")
            note = "" if bound is None else f"bound {bound:.4f}"
            self.rich.update(self.fit, completed=state.step, total=state.steps, note=note)

        return (report,)

    def advance(self, label: str, status: str) -> None:
        self.rich.update(self.study, advance=1)
        self.rich.update(self.fit, visible=False)
        if status != "finished":
            from rich.text import Text

            self.rich.console.print(Text.assemble((status, "red"), f" {printable(label)}"))

    def note(self, text: str) -> None:
        self.rich.console.print(rich_text(text))


def _shortened(label: str, width: int = 28) -> str:
    """Return a label that leaves room for the bar on a line of 80 columns: its end says most."""
    return label if len(label) <= width else "…" + label[-(width - 1) :]


@contextlib.contextmanager
def progress_display(show: bool | None = None) -> Iterator[Progress]:
    """Yield a display; it draws on stderr if ``show`` is True, or None and stderr is a terminal."""
    if show is False or (show is None and not sys.stderr.isatty()):
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    left = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=14), MofNCompleteColumn())
    right = (TimeElapsedColumn(), TextColumn("{task.fields[note]}", style="dim", markup=False))
    with RichProgress(*left, *right, console=Console(stderr=True)) as rich_progress:
        yield _Bar(rich_progress)
