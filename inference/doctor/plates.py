"""The rows of the data on all of them and on fewer: a data plate of fixed size, and what lies outside of it."""

from __future__ import annotations

__all__ = ["check_plates"]

from ..pair.findings.rows import check_rows
from ..pair.messengers.minibatch import DATA_PLATE
from .case import Examination


def check_plates(case: Examination) -> None:
    """Compare the plates with the data, on all of them and on a part."""
    if case.has("sequential-plate"):
        return
    for side in (case.model, case.guide):
        size, _ = side.small.plates.get(DATA_PLATE, (None, 0))
        if size == case.size != case.few_size and not case.has("hand-set-scale", where=DATA_PLATE):
            case.fault(
                "plate-size",
                DATA_PLATE,
                f"The plate `{DATA_PLATE}` in the {side.name} has size {size} whatever it is given, so the program "
                f"fits no mini-batch and no other data.",
                f"Declare it with the size of what it is given: {case.plate_cure}.",
            )
    small = case.model.small.sites if case.model.small.complete else {}
    for finding in check_rows(case.sites, small, case.few_size):
        case.add(finding)
        if finding.severity == "fault":  # the dimension without a plate is the data's
            case.forget("hidden-dimension", case.model.run.sites)
