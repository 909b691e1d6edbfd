"""`jensen list`: what there is to choose from, each with one line about it."""

from __future__ import annotations

__all__ = ["catalogue", "print_catalogue"]

import inspect
import re
from typing import Any

from pyro.infer import ELBO

from jensen.datasets import DATASETS
from jensen.inference import active_units, elbo_terms, log_evidence, pareto_k
from jensen.inference.errors import ConfigurationError, nearest_or_all
from jensen.models import LatentVariableModel

from .shipped import shipped, shipped_methods

_METRICS = (log_evidence, elbo_terms, pareto_k, active_units)
_GUIDES = {
    "normal": "independent normals (unconstrained)",
    "multivariate_normal": "one normal with a full covariance",
    "lowrank": "one normal with a diagonal plus low-rank covariance",
    "iaf": "inverse autoregressive flow",
    "flow": "neural spline flow",
}


def catalogue() -> dict[str, dict[str, str]]:
    """Return ``{kind: {name: one line}}`` for models, methods, objectives, guides, metrics and data."""
    return {
        "models": _lines(shipped("models", LatentVariableModel)),
        "methods": _lines(shipped_methods()),
        "objectives": _lines(shipped("inference", ELBO)),
        "guides": _GUIDES,
        "metrics": _lines({metric.__name__: metric for metric in _METRICS}),
        "data": _lines(DATASETS),
    }


def print_catalogue(kind: str | None = None) -> None:
    """Print the catalogue, or the one kind of it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    found = catalogue()
    if kind is not None and kind not in found:
        raise ConfigurationError(f"`{kind}`: expected a kind of thing to list.{nearest_or_all(kind, found)}")
    grid = Table.grid(padding=(0, 3))
    for name, lines in found.items():
        if kind in (None, name):
            grid.add_row(f"[bold]{name}")
            for label, line in lines.items():
                grid.add_row(f"  {label}", f"[dim]{escape(line)}")
    Console().print(grid)


def _lines(things: dict[str, Any]) -> dict[str, str]:
    return {name: _first_line(thing) for name, thing in things.items()}


def _first_line(thing: Any) -> str:
    """Return the first paragraph of a docstring as one line of plain text, without its formulae."""
    paragraph = (inspect.getdoc(thing) or "").strip().split("\n\n")[0]
    text = re.sub(r",\s+(:math:`|``).*", ".", " ".join(paragraph.split()))  # a formula that ends the sentence
    return re.sub(r":\w+:`([^`]*)`", r"\1", text).replace("``", "").replace("`", "").rstrip(",:")
