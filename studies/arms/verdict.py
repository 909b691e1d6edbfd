"""What an arm's fit says of itself: whether it came to rest, and what is known against its numbers."""

from __future__ import annotations

__all__ = ["UNKNOWN", "Doubts", "doubts", "tally"]

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "unknown"
_BEFORE = "the fit is of a version that did not test it"


@dataclass(frozen=True)
class Doubts:
    """What there is to say about one fit and its scores.

    Attributes:
        convergence: ``"converged"``, ``"not converged"``, ``"unknown"``, or that it was stopped before.
        reason: the test with its number, and what to do.
        unreliable: why the fit's or a score's numbers cannot be relied on; empty if nothing is known against them.
    """

    convergence: str
    reason: str
    unreliable: str

    @property
    def text(self) -> str:
        """All of it in one line."""
        said = f"{self.convergence}: {self.reason}" if self.reason else self.convergence
        return f"{said} Unreliable: {self.unreliable}." if self.unreliable else said


def doubts(info: Mapping[str, Any], scores: Mapping[str, Any]) -> Doubts:
    """Read them off what an arm keeps of its fit and of its scores by metric; what is not there is unknown."""
    status = str(info.get("fit_status", "finished"))
    test = info.get("convergence")
    if isinstance(test, Mapping):
        reason = f"{test.get('reason', '')}. {test.get('advice', '')}".strip()
    else:
        status, reason = (UNKNOWN, f"{_BEFORE}.") if status == "finished" else (status, "")
    against = [f"{name}: {entry['unreliable']}" for name, entry in scores.items() if entry.get("unreliable")]
    check = info.get("reliability")
    if isinstance(check, Mapping) and check.get("reliable") is False:
        against.insert(0, str(check.get("reason", "")).rstrip("."))
    return Doubts(status, reason, "; ".join(against))


def tally(statuses: Iterable[str]) -> str:
    """How many fits ended how.

    >>> tally(["unknown", "converged", "converged"])
    '2 converged, 1 unknown'
    """
    counts = Counter(statuses)
    known = [status for status in ("converged", "not converged", UNKNOWN) if status in counts]
    return ", ".join(f"{counts[status]} {status}" for status in dict.fromkeys([*known, *counts]))
