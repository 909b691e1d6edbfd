"""A study as one self-contained html page: its table, its pictures, every arm and every configuration."""

from __future__ import annotations

__all__ = ["write_report"]

import base64
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jensen.inference.plain_text import html_text

from ..arms.arm import FINISHED
from ..arms.record import StudyRecord
from ..arms.store import read_json, write_text
from ..pictures import bound_against_time, evidence, save
from .table import as_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd } .when { color: #777; margin-top: 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap }
th { border-bottom: 2px solid #888 }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2), .text { text-align: left }
.arms .text { white-space: normal; min-width: 6rem; max-width: 28rem }
[title] { text-decoration: underline dotted #999; cursor: help }
img { max-width: 100% } figure { margin: 1.5rem 0 } figcaption { color: #555 } .error { color: #b00020 }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: 13px } summary { cursor: pointer }
"""


def write_report(
    results: StudyRecord | Sequence[StudyRecord],
    path: str | Path,
    pictures: Mapping[str, Figure | Path] | None = None,
    title: str = "",
) -> Path:
    """Write the page of one or more studies and return its path.

    Args:
        results: what is reported.
        path: the html file; everything is inside it.
        pictures: ``{caption: figure or PNG file}``; by default bounds against time, and bounds and evidences.
        title: the heading; the names of the studies by default.
    """
    path = Path(path)
    results = [results] if not isinstance(results, Sequence) else list(results)
    title = title or ", ".join(result.name for result in results)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [f"<h1>{html_text(title)}</h1>", f'<p class="when">written {when}</p>']
    parts += ["<h2>Result</h2>", f'<div class="wide">{as_html(results)}</div>']
    drawn = [pair for result in results for pair in _drawn(result)] if pictures is None else list(pictures.items())
    if drawn:
        parts += ["<h2>Pictures</h2>", *(_figure(caption, picture) for caption, picture in drawn)]
    parts += ["<h2>Arms</h2>", *(f'<div class="wide">{_arms(result)}</div>' for result in results)]
    parts += ["<h2>Configuration</h2>", *(part for result in results for part in _configurations(result))]
    head = f'<meta charset="utf-8"><title>{html_text(title)}</title><style>{_STYLE}</style>'
    page = f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'
    write_text(path, page + "\n")
    return path


def _drawn(result: StudyRecord) -> Iterator[tuple[str, Figure]]:
    """Yield the pictures that any study has: per model, bound against time, and bound and evidence."""
    frame, fits = result.frame, result.fits
    for model in dict.fromkeys(record.model for record in result.records if record.status == FINISHED):
        histories: dict[str, list[Any]] = {}
        for key in fits:
            if key[0] == model:
                histories.setdefault(key[1], []).append(fits[key].history)
        histories = {method: [run for run in runs if _has_bounds(run)] for method, runs in histories.items()}
        histories = {method: runs for method, runs in histories.items() if runs}
        if histories:
            yield f"{result.name}, {model}", bound_against_time(histories)
        scored = frame[(frame["model"] == model) & (frame["status"] == FINISHED)]
        if "log_evidence_per_datum" in scored and scored["log_evidence_per_datum"].notna().any():
            yield f"{result.name}, {model}", evidence(scored)


def _has_bounds(history: Any) -> bool:
    return len(history) > 0 and {"seconds", "bound_per_datum"} <= set(history)


def _figure(caption: str, picture: Figure | Path) -> str:
    if isinstance(picture, Path):
        content = picture.read_bytes()
    else:
        buffer = io.BytesIO()
        save(picture, buffer)
        content = buffer.getvalue()
    source = base64.b64encode(content).decode()
    text = html_text(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{source}"><figcaption>{text}</figcaption></figure>'


def _arms(result: StudyRecord) -> str:
    """One row an arm; why a fit is said to have converged, or not, is on hover."""
    frame = result.frame.drop(columns="folder")
    frame = frame.loc[:, (frame.notna() & (frame != "")).any()]
    reasons = frame.get("convergence_reason", [""] * len(frame))
    frame = frame.drop(columns="convergence_reason", errors="ignore")
    head = "".join(f"<th>{html_text(name)}</th>" for name in frame)
    rows = zip(frame.to_dict("records"), reasons, strict=True)
    body = "".join(
        f"<tr>{''.join(_cell(name, value, reason) for name, value in row.items())}</tr>" for row, reason in rows
    )
    return f'<table class="arms"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(name: str, value: Any, reason: str) -> str:
    text = ("" if math.isnan(value) else f"{value:.6g}") if isinstance(value, float) else html_text(value)
    title = f' title="{html_text(reason)}"' if name == "convergence" and reason else ""
    kind = ' class="text"' if isinstance(value, str) else ""
    return f"<td{kind}{title}>{text}</td>"


def _configurations(result: StudyRecord) -> Iterator[str]:
    """Yield each (model, method)'s configuration, from the first arm that has one, to be folded out."""
    seen = set()
    for record in result.records:
        label = f"{result.name}: {record.model}, {record.method}"
        config = (read_json(record.folder / "arm.json") or {}).get("config")
        if label in seen or config is None:
            continue
        seen.add(label)
        text = html_text(json.dumps(config, indent=2))
        yield f"<details><summary>{html_text(label)}</summary><pre>{text}</pre></details>"
