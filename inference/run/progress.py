"""Progress of a running fit: one object per logging interval for callbacks, and one progress bar."""

from __future__ import annotations

__all__ = ["Callback", "Progress", "progress_bar"]

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..pair.program import Program
from ..plain_text import printable


@dataclass(frozen=True)
class Progress:
    """The state of a running fit at a logging interval.

    Attributes:
        step: steps done; `steps`: steps in all.
        row: the newest row of the history.
        program: the pair with its present parameters. What a callback sets in it counts from the next step on:
            attributes that the program reads (which costs a new trace), buffers, and without `average` parameters.
    """

    step: int
    steps: int
    row: dict[str, Any]
    program: Program


Callback = Callable[[Progress], object]
"""Called once per logging interval; returning True stops the fit ("stopped early")."""


@contextmanager
def progress_bar(title: str, steps: int, show: bool | None) -> Iterator[Callable[[int, str], None]]:
    """Yield ``update(step, text)``. Shown on terminals by default (`show=None`)."""
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda step, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=console.is_terminal) as bar:  # a log keeps the last line
        task = bar.add_task(printable(title), total=steps, text="")
        yield lambda step, text: bar.update(task, completed=step, text=printable(text))
