"""The table of a study: one line per method, for terminals (rich) and for pages (html)."""

from __future__ import annotations

__all__ = ["as_html", "as_text", "cells", "last_line", "remarks", "table", "verdicts"]

import html
import math
from collections.abc import Sequence
from typing import Any

from jensen.inference.plain_text import html_text, rich_text

from ..arms.record import StudyRecord
from ..arms.verdict import Doubts, tally

HEADERS = ("model", "method", "converged", "bound per datum", "log evidence per datum", "k-hat", "steps/s", "seconds")
_EVIDENCE, _SPEED = ("bound\nper datum", "log evidence\nper datum", "k-hat"), ("steps\nper s", "time\n(s)")
_NARROW = ("method", "con-\nverged", *_EVIDENCE, *_SPEED)
_CONVERGED = HEADERS.index("converged")
_WORDS = {"converged": "yes", "not converged": "no", "unknown": "?", "stopped early": "stopped"}
_MARK = " (!)"
CAPTION = (
    "Nats per datum, bigger is better. Bound: the ELBO of the fitted pair. Evidence: importance weighted ± standard "
    "error. Same data and budget for all methods. k-hat above 0.7: too far from the posterior to rely on the evidence "
    "(!). Converged: by each fit's own test, of its seeds."
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
        if evidence != "-" and any("log_evidence" in said.unreliable for said in _of(result, row)):
            evidence += _MARK
        k_hat = _number(row.get("pareto_k", math.nan), decimals=2)
        speed = _number(row["steps_per_second"], decimals=0), _number(row["seconds"], decimals=1)
        lines.append((row["model"], method, _converged(_of(result, row)), shown, evidence, k_hat, *speed))
    return lines


def remarks(result: StudyRecord) -> list[str]:
    """Return a line a (model, method) with a fit that has not converged, or that cannot be relied on: the first one."""
    said: dict[tuple[str, str], str] = {}
    for (model, method, seed), found in result.doubts().items():
        if found.convergence == "not converged" or found.unreliable:
            said.setdefault((model, method), f"{model}, {method}, seed {seed}: {found.text}")
    return list(said.values())


def verdicts(result: StudyRecord) -> list[str]:
    """Return, for each line of the table, what its fits say of themselves, a line a seed."""
    rows = result.summary().to_dict("records")
    return ["\n".join(f"seed {seed}: {said.text}" for seed, said in _seeds(result, row).items()) for row in rows]


def last_line(results: Sequence[StudyRecord]) -> str:
    """How the fits of one or more studies ended: how many converged, and how many cannot be relied on."""
    found = [said for result in results for said in result.doubts().values()]
    left = sum(len(result.records) for result in results) - len(found)
    doubted = sum(bool(said.unreliable) for said in found)
    parts = [tally(said.convergence for said in found)] if found else []
    parts += [f"{left} not finished"] if left else []
    parts += [f"{doubted} with numbers that cannot be relied on, see above"] if doubted else []
    return f"fits: {', '.join(parts)}"


def _seeds(result: StudyRecord, row: dict[str, Any]) -> dict[int, Doubts]:
    found = result.doubts().items()
    return {seed: said for (model, method, seed), said in found if (model, method) == (row["model"], row["method"])}


def _of(result: StudyRecord, row: dict[str, Any]) -> list[Doubts]:
    return list(_seeds(result, row).values())


def _converged(said: Sequence[Doubts]) -> str:
    """Return the verdict that all seeds share, or how many converged."""
    if not said:
        return "-"
    if len({each.convergence for each in said}) == 1:
        return _WORDS.get(said[0].convergence, said[0].convergence)
    return f"{sum(each.convergence == 'converged' for each in said)} of {len(said)}"


def table(results: Sequence[StudyRecord]) -> Any:
    """Return a rich table of one or more studies, followed by what fits say against themselves and why arms failed."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, caption=CAPTION, caption_justify="left", pad_edge=False, collapse_padding=True)
    for index, header in enumerate(_NARROW):
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
    said = [rich_text(remark, style="yellow") for result in results for remark in remarks(result)]
    errors = [
        rich_text(f"{label}: {error}", style="red", lines=True)
        for result in results
        for label, error in _errors(result)
    ]
    return Group(drawn, *said, *errors)


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
    body = "".join(
        f"<tr>{''.join(_cell(text, title if index == _CONVERGED else '') for index, text in enumerate(line))}</tr>"
        for result in results
        for line, title in zip(cells(result), verdicts(result), strict=True)
    )
    errors = "".join(
        f'<p class="error">{html_text(label)}: {html_text(error)}</p>'
        for result in results
        for label, error in _errors(result)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(CAPTION)}</p>{errors}"


def _cell(text: str, title: str) -> str:
    return f'<td title="{html_text(title)}">{html_text(text)}</td>' if title else f"<td>{html_text(text)}</td>"


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
