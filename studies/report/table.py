"""The table of a study: one line per method, for terminals (rich) and for pages (html)."""

from __future__ import annotations

__all__ = ["as_html", "as_text", "cells", "table"]

import html
import math
from collections.abc import Sequence
from typing import Any

from jensen.inference.plain_text import html_text, rich_text

from ..arms.record import StudyRecord

HEADERS = ("model", "method", "bound per datum", "log evidence per datum", "k-hat", "steps/s", "seconds")
_NARROW_HEADERS = ("method", "bound\nper datum", "log evidence\nper datum", "k-hat", "steps\nper s", "time\n(s)")
CAPTION = (
    "Nats per datum, bigger is better. Bound: the ELBO of the fitted pair. Evidence: importance weighted ± standard "
    "error. Same data and budget for all methods. k-hat above 0.7: too far from the posterior to rely on the evidence."
)


def cells(result: StudyRecord) -> list[tuple[str, ...]]:
    """Return the lines of the table as text, one a (model, method); several seeds are averaged.

    The error of an average over S seeds is the standard error of the mean: Monte Carlo errors combined where S = 1,
    the spread between seeds over sqrt(S) otherwise.
    """
    lines: list[tuple[str, ...]] = []
    for row in result.summary().to_dict("records"):
        bound = row.get("elbo_per_datum", math.nan)
        shown = _number(row["bound_per_datum"] if _missing(bound) else bound)
        evidence = _with_error(row, "log_evidence_per_datum", "log_evidence_stderr")
        method = row["method"]
        if row["finished"] < row["arms"]:
            method += f"  ({row['finished']} of {row['arms']} finished)"
        k_hat = _number(row.get("pareto_k", math.nan), decimals=2)
        speed = _number(row["steps_per_second"], decimals=0), _number(row["seconds"], decimals=1)
        lines.append((row["model"], method, shown, evidence, k_hat, *speed))
    return lines


def table(results: Sequence[StudyRecord]) -> Any:
    """Return a rich table of one or more studies, followed by why any arm failed."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, caption=CAPTION, caption_justify="left", pad_edge=False, collapse_padding=True)
    for index, header in enumerate(_NARROW_HEADERS):
        drawn.add_column(header, justify="right" if index else "left", no_wrap=index > 0, vertical="bottom")
    for result in results:
        lines, last = cells(result), ""
        several = len({line[0] for line in lines}) > 1 or len(results) == 1
        for model, method, *numbers in lines:
            title = model if several else result.name
            if title != last:
                drawn.add_row(rich_text(title, style="bold"))
            drawn.add_row(rich_text(f" {method}"), *numbers)
            last = title
        drawn.add_section()
    errors = [
        rich_text(f"{label}: {error}", style="red", lines=True)
        for result in results
        for label, error in _errors(result)
    ]
    return Group(drawn, *errors)


def as_text(results: Sequence[StudyRecord]) -> str:
    """Return the table as plain text."""
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=130, color_system=None)
    console.print(table(results))
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def as_html(results: Sequence[StudyRecord]) -> str:
    """Return the table as an html fragment."""
    head = "".join(f"<th>{html.escape(header)}</th>" for header in HEADERS)
    lines = [line for result in results for line in cells(result)]
    body = "".join("<tr>" + "".join(f"<td>{html_text(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    errors = "".join(
        f'<p class="error">{html_text(label)}: {html_text(error)}</p>'
        for result in results
        for label, error in _errors(result)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(CAPTION)}</p>{errors}"


def _errors(result: StudyRecord) -> list[tuple[str, str]]:
    frame = result.frame
    troubled = frame[(frame["error"] != "") | (frame["status"] != "finished")]
    rows = troubled.to_dict("records")
    labels = [f"{row['model']}, {row['method']}, seed {row['seed']} {row['status']}" for row in rows]
    return [(label, row["error"] or "run the study again") for label, row in zip(labels, rows, strict=True)]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any, decimals: int = 4) -> str:
    if _missing(value):
        return "-"
    if not math.isfinite(value):
        return "-∞" if value < 0 else "∞"
    return f"{value:,.{decimals}f}"


def _with_error(row: dict[str, Any], name: str, error_name: str) -> str:
    """Return ``value ± error``: the Monte Carlo error for one seed, else the standard error of the mean over seeds."""
    value, spread = row.get(name, math.nan), row.get(f"{name}_sd", math.nan)
    error = row.get(error_name, math.nan) if _missing(spread) else spread / math.sqrt(row["finished"])
    return _number(value) if _missing(value) or _missing(error) else f"{_number(value)} ± {error:.4f}"
