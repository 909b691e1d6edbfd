"""The doctor's report: sites, parameters, objectives, faults and warnings."""

from __future__ import annotations

__all__ = ["Finding", "ObjectiveRow", "ParameterRow", "Report", "SiteRow"]

from dataclasses import dataclass
from typing import Any

from ..pair.findings import Finding
from .display import as_tables, as_text
from .records import ObjectiveRow, ParameterRow, ReportRecord, SiteRow


@dataclass(frozen=True, repr=False)
class Report(ReportRecord):
    """All that an examination found. Prints as text, and as tables in a terminal through rich.

    Attributes:
        model, guide, data: what was examined, in words.
        sites: one row per sample site, in the order of the model.
        parameters: one row per parameter.
        objectives: one row per objective; `recommended` is the name of the one to start with, or None.
        faults: what makes a fit fail or be wrong; each says what to change.
        warnings: what works, but is slower, noisier or less general than it could be.
        notes: what is good to know, and needs no change.
        vectorized: whether several particles run as one (`torch.vmap`); None if it could not be tried.
        traced: whether the step can be traced and compiled; None if it could not be tried.
    """

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        return as_tables(self)
