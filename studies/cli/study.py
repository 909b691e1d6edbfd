"""`jensen study run|report FILE.py`: find the studies that a file defines, run them or read what is finished."""

from __future__ import annotations

__all__ = ["find_studies", "report_file", "run_file"]

from collections.abc import Sequence
from pathlib import Path

from jensen.inference.errors import ConfigurationError
from jensen.inference.plain_text import printable

from ..arms.seeded import seeded
from ..arms.store import check_file
from ..report.page import write_report
from ..report.table import last_line, table
from ..result import StudyResult
from ..study import Study
from .resolve import load_file


def find_studies(file: Path) -> list[Study]:
    """Return the `Study` objects that a Python file defines at its top level, each once, in their order.

    The file is run from a fixed random state, so that models built in it start from the same weights every time.
    """
    if file.suffix != ".py":
        raise ConfigurationError(f"`{file}`: expected a Python file that defines a Study.")
    with seeded(0):
        defined = vars(load_file(file)).values()
    found = {id(value): value for value in defined if isinstance(value, Study)}
    if not found:
        raise ConfigurationError(f"`{file}`: expected a Study at its top level, e.g. `study = Study(…)`, found none.")
    return list(found.values())


def run_file(file: Path, out: Path, *, jobs: int, report: Path | None, progress: bool | None) -> bool:
    """Run the studies of ``file`` and print one table; return whether every arm finished (Ctrl-C is raised again)."""
    if report is not None:
        check_file(report, "--report")
    results = []
    for study in find_studies(file):
        results.append(study.run(out, jobs=jobs, progress=progress))
        if results[-1].interrupted:
            break
    _show(results, report)
    if results[-1].interrupted:
        raise KeyboardInterrupt
    return not any(result.failed for result in results)


def report_file(file: Path, out: Path, report: Path) -> None:
    """Print the table of what is finished under ``out`` and write the page."""
    check_file(report, "--report")
    results = [study.load(out) for study in find_studies(file)]
    if not any(len(result.fits) for result in results):
        raise ConfigurationError(f"`{out}`: expected finished arms of `{file}`, found none; run them first.")
    _show(results, report)


def _show(results: Sequence[StudyResult], report: Path | None) -> None:
    """Print one table of the studies, write the page where one is asked for, and end with how the fits ended."""
    from rich import print as show

    show(table(results))
    if report is not None:
        print(printable(f"report: {write_report(results, report)}"))
    print(printable(last_line(results)))
