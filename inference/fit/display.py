"""A fit for people: a few lines of text, a rich table in terminals, an HTML table in notebooks."""

from __future__ import annotations

__all__ = ["as_html", "as_table", "as_text", "summary"]

import inspect
import math
from typing import TYPE_CHECKING, Any

from ..errors import JensenError
from ..pair.sites import Site
from ..plain_text import html_text, printable, rich_text
from .arviz import _name
from .record import FitRecord

if TYPE_CHECKING:
    from rich.table import Table


_LATENTS_SHOWN = 6


def summary(fit: FitRecord) -> dict[str, str]:
    """What there is to say about a fit, label by label."""
    rows = {"model": getattr(fit.model, "__name__", type(fit.model).__name__)}
    objective = _name(fit.config.get("objective"))
    if objective:
        rows["objective"] = objective
    if fit.guide is not None:
        rows["guide"] = _guide(fit)
    latents = _latents(fit)
    more = f" and {len(latents) - _LATENTS_SHOWN} more" if len(latents) > _LATENTS_SHOWN else ""
    if latents:
        rows["latents"] = ", ".join(latents[:_LATENTS_SHOWN]) + more
    rows["data"] = f"{fit.data_size:,}"
    history = fit.history
    steps = fit.info.get("steps") or (int(history["step"].iloc[-1]) if _last(history, "step") is not None else None)
    rows["status"] = fit.status + (f" after {steps:,} steps" if steps else "") + f", seed {fit.seed}"
    test = fit.info.get("convergence") or {}
    if test:
        rows["test"] = test["reason"]
    if test.get("advice"):
        rows["advice"] = test["advice"]
    if check := fit.info.get("reliability"):
        rows["reliable" if check["reliable"] else "unreliable"] = check["reason"]
    bound = _last(history, "bound_per_datum")
    if bound is not None:
        total = _last(history, "bound")
        rows["bound"] = f"{bound:.4f} nats per datum" + (f" ({total:,.1f} in all)" if total is not None else "")
    held_out = _last(history, "validation_bound")
    if held_out is not None:
        error = _last(history, "validation_stderr")
        rows["validation"] = f"{held_out:,.4f}" + (f" +- {error:.2g}" if error is not None else "")
    if fit.draws is not None:
        rows["draws"] = f"{len(next(iter(fit.draws.values()))):,}"
    seconds = fit.info.get("seconds")
    if seconds is not None:
        speed = fit.info.get("steps_per_second")
        rows["time"] = f"{seconds:.3g} s" + (f" ({speed:,.0f} steps/s)" if speed else "")
    place = [str(fit.info[key]).removeprefix("torch.") for key in ("device", "dtype") if fit.info.get(key)]
    if place:
        rows["on"] = ", ".join(place)
    return rows


def as_text(fit: FitRecord) -> str:
    """One line of title, one indented line per row of the summary."""
    rows = summary(fit)
    width = max(map(len, rows))
    lines = [f"Fit by {fit.method}", *(f"  {label:<{width}}  {text}" for label, text in rows.items())]
    return "\n".join(map(printable, lines))


def as_table(fit: FitRecord) -> Table:
    """The summary as a rich table."""
    from rich.table import Table

    title = rich_text(f"Fit by {fit.method}", style="table.title")
    table = Table(title=title, show_header=False, title_justify="left", min_width=40)
    table.add_column(style="bold")
    table.add_column()
    for label, text in summary(fit).items():
        table.add_row(label, rich_text(text))
    return table


def as_html(fit: FitRecord) -> str:
    """The summary as an HTML table."""
    rows = "".join(
        f'<tr><th style="text-align:left">{html_text(label)}</th>'
        f'<td style="text-align:left">{html_text(text)}</td></tr>'
        for label, text in summary(fit).items()
    )
    return f"<table><caption>Fit by {html_text(fit.method)}</caption><tbody>{rows}</tbody></table>"


def _guide(fit: FitRecord) -> str:
    name = fit.config.get("guide")
    if isinstance(name, str):
        return _name(name)
    if inspect.ismethod(fit.guide) and fit.guide.__self__ is fit.model:
        return "the model's own"
    name = str(getattr(fit.guide, "__name__", type(fit.guide).__name__))
    return "normal" if name == "NormalGuide" else name


def _latents(fit: FitRecord) -> list[str]:
    try:
        return [_latent(site) for site in fit.structure.select("latent")]
    except (JensenError, RuntimeError, ValueError, TypeError):  # a fit can be shown even if its program no longer runs
        return []


def _latent(site: Site) -> str:
    shape = tuple(size for name, size in site.plates if name != "data") + site.event_shape
    size = f" {shape}" if shape else ""
    notes = [note for note in ("per datum" if site.local else "", "summed out" if site.enumerated else "") if note]
    return f"{site.name}{size}" + (f" [{', '.join(notes)}]" if notes else "")


def _last(history: Any, column: str) -> float | None:
    """The last finite value of a column, or None."""
    if column not in history.columns:
        return None
    values = [float(value) for value in history[column] if value is not None and math.isfinite(float(value))]
    return values[-1] if values else None
