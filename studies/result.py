"""What a study found, with a table for terminals and a page for people."""

from __future__ import annotations

__all__ = ["Fits", "StudyResult"]

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .arms.record import Fits, StudyRecord
from .report.page import write_report
from .report.table import as_html, as_text, table


@dataclass(frozen=True, repr=False)
class StudyResult(StudyRecord):
    """The records of all arms of a study, in the order in which they were to run; ``interrupted`` after Ctrl-C.

    ``frame`` has one row per arm; ``fits`` the finished fits; ``print(result)`` a table; ``report`` writes a page.
    """

    def report(self, path: str | Path = "report.html") -> Path:
        """Write one self-contained page (table, curves, configuration of every arm) and return its path."""
        return write_report(self, Path(path))

    def __rich__(self) -> Any:
        return table([self])

    def __repr__(self) -> str:
        return as_text([self])

    def _repr_html_(self) -> str:
        return as_html([self])
