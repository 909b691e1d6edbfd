"""One thing that is wrong with a model/guide pair, whom it concerns, and the error it becomes."""

from __future__ import annotations

__all__ = ["ALL_USES", "Finding", "Severity", "Use", "raise_first"]

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ...errors import DataError, JensenError, ModelError

Use = Literal["fit", "score", "draw"]
Severity = Literal["fault", "warning", "note"]

ALL_USES: frozenset[Use] = frozenset(("fit", "score", "draw"))


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and what to change.

    Attributes:
        code: its kind, such as ``"missing-site"``; the same for every model.
        where: the site, parameter or argument it is about, or ``""`` for the whole program.
        message: what was found.
        cure: what to change.
        severity: ``"fault"`` (a fit fails or is wrong), ``"warning"`` (it is slower, noisier or less general than it
            could be) or ``"note"`` (good to know).
        stops: which uses of the pair a fault makes impossible; the others go on.
        about_data: whether the data are at fault, rather than the program.
    """

    code: str
    where: str
    message: str
    cure: str
    severity: Severity = "fault"
    stops: frozenset[Use] = ALL_USES
    about_data: bool = False

    def __str__(self) -> str:
        return f"{self.message} {self.cure}"

    def error(self) -> JensenError:
        """The exception that a fit, a score or a draw raises."""
        error = (DataError if self.about_data else ModelError)(str(self))
        error.finding = self
        return error


def raise_first(findings: Iterable[Finding], use: Use) -> None:
    """Raise the first fault that makes this use of the pair impossible.

    Raises:
        ModelError, DataError: the fault, with its cure.
    """
    for finding in findings:
        if finding.severity == "fault" and use in finding.stops:
            raise finding.error()
