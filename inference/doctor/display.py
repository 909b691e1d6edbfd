"""A report for people: plain text, and tables in a terminal."""

from __future__ import annotations

__all__ = ["as_tables", "as_text"]

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jensen.inference.plain_text import printable, rich_text

from .records import ParameterRow, ReportRecord, SiteRow

if TYPE_CHECKING:
    from rich.console import Group

_WIDTH = 96
_PARAMETERS = 16
_SITES = (("site", "what"), ("batch | event", "plates"), ("support", ""), ("model", "guide"), ("KL", "gradient"))
_PARAMETER_HEAD = ("parameter", "of", "shape", "gradient")
_OBJECTIVE_HEAD = ("objective", "full batch", "mini-batch", "remark")
_BAD = ("none", "zero", "not finite", "no", "missing")
_GOOD = ("yes", "analytic")

Line = tuple[str, ...]


def _site(row: SiteRow) -> list[tuple[str, str]]:
    """The cells of one site, each of two lines."""
    plates = ", ".join(f"{name} {size}" for name, size in row.plates)
    return [
        (row.name, f"{row.kind}, {row.scope}"),
        (f"{_shape(row.batch_shape)} | {_shape(row.event_shape)}", f"in {plates}" if plates else ""),
        (row.support, ""),
        (row.model or "-", row.guide or "-"),
        (row.kl or "-", row.gradient or "-"),
    ]


def _shape(shape: tuple[int, ...]) -> str:
    return " ".join(map(str, shape)) or "()"


def _parameters(report: ReportRecord) -> tuple[list[Line], str]:
    """The rows to show, those in trouble always, and a line about the others."""
    rows = report.parameters
    quiet = [row for row in rows if row.gradient in ("yes", "frozen")]
    room = max(_PARAMETERS - (len(rows) - len(quiet)), 0)
    hidden = {id(row) for row in quiet[room:]} if len(rows) > _PARAMETERS else set()
    more = f"and {len(hidden)} more, in order" if hidden else ""
    return [_parameter(row) for row in rows if id(row) not in hidden], more


def _parameter(row: ParameterRow) -> Line:
    return row.name, row.owner or "-", _shape(row.shape), row.gradient


def _objectives(report: ReportRecord) -> list[Line]:
    """One line for all objectives of which the same is said."""
    names: dict[Line, list[str]] = {}
    for row in report.objectives:
        note = row.note.replace("`", "").replace(f"{row.name} ", "this ", 1) if row.full_batch is not None else ""
        shown = row.name + (" *" if row.name == report.recommended else "")
        names.setdefault((_yes(row.full_batch), _yes(row.mini_batch), _start(note)), []).append(shown)
    return [(", ".join(group), *said) for said, group in names.items()]


def _judged(report: ReportRecord) -> bool:
    return any(row.full_batch is not None for row in report.objectives)


def _start(note: str) -> str:
    """The remark without its subject, which is the first column."""
    return note.removeprefix("this ").rstrip(".")


def _yes(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"


def _notes(report: ReportRecord) -> Iterator[str]:
    for row in report.sites:
        if row.note:
            yield f"{row.name}: KL by Monte Carlo, {row.note}."
    if report.recommended:
        yield f"* start with {report.recommended}."
    if not _judged(report):
        yield "Objectives are judged once the faults of the sites are mended."
    for value, words in ((report.vectorized, "run all particles as one"), (report.traced, "be traced and compiled")):
        if value is not None:
            yield f"The pair {'can' if value else 'cannot'} {words}."


def _verdict(report: ReportRecord) -> str:
    counts = [(len(report.faults), "fault"), (len(report.warnings), "warning")]
    words = [f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count]
    return ", ".join(words if report.faults else ["no fault", *words])


def as_text(report: ReportRecord) -> str:
    """The report as plain text: its tables on a terminal of `_WIDTH` columns, without colours."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=_WIDTH, color_system=None, force_terminal=False, force_jupyter=False).print(
        as_tables(report)
    )
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def as_tables(report: ReportRecord) -> Group:
    """The report as rich tables, readable from 80 columns on."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    parameters, more = _parameters(report)
    parts: list[Any] = [rich_text(f"jensen doctor: {report.model}", style="bold")]
    parts += [rich_text(f"guide: {report.guide}"), rich_text(f"data: {report.data}")]
    parts.append(_table([_cell(*cell) for cell in _SITES], [[_cell(*c) for c in _site(row)] for row in report.sites]))
    parts.append(_table(_PARAMETER_HEAD, [[_cell(c) for c in line] for line in parameters]))
    if more:
        parts.append(Text(" " + more, style="dim"))
    if _judged(report):
        parts.append(_table(_OBJECTIVE_HEAD, [[_cell(c) for c in line] for line in _objectives(report)]))
    parts += [rich_text(note, style="dim") for note in _notes(report)]
    kinds = (("fault", "bold red", report.faults), ("warning", "yellow", report.warnings), ("note", "", report.notes))
    for name, style, findings in kinds:
        for number, finding in enumerate(findings, 1):
            said, cure = (printable(words, lines=True) for words in (finding.message, finding.cure))
            text = Text.assemble((f"{name} {number} ", style), (f"[{finding.code}] ", "dim"), said)
            parts += [Text(""), text, Padding(Text("-> " + cure, style="green"), (0, 0, 0, 4), expand=False)]
    return Group(*parts, Text(""), Text(_verdict(report), style="bold red" if report.faults else "bold green"))


def _cell(first: str, second: str = "") -> Any:
    from rich.text import Text

    first, second = printable(first), printable(second)
    style = "red" if first in _BAD else "green" if first in _GOOD else ""
    below = ("\n" + second, "red" if second in _BAD else "dim") if second else ("", "")
    return Text.assemble((first, style), below)


def _table(head: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
