"""The data plate: its size on these data and on fewer, and what of the data lies outside of it."""

from __future__ import annotations

__all__ = ["check_plates"]

from ..pair.findings import data_frames
from ..pair.findings.rows import check_rows
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.recorded_run import Run
from .case import Examination


def check_plates(case: Examination) -> None:
    """Compare the plates with the data, on all of them and on a part."""
    for who, run in (("model", case.model_run), ("guide", case.guide_run)):
        _data_size(case, who, run)
    if not case.has("sequential-plate"):
        small = case.model_small.sites if case.model_small.complete else {}
        for finding in check_rows(case.sites, small, case.small_size):
            case.add(finding)
            if finding.severity == "fault":  # the dimension without a plate is the data's
                case.forget("hidden-dimension", case.model_run.sites)


def _data_size(case: Examination, who: str, run: Run) -> None:
    frames = {frame for site in run.sites.values() for frame in data_frames(site) if frame.vectorized}
    sizes = sorted({frame.size for frame in frames})
    if not sizes or case.has("hand-set-scale", where=DATA_PLATE):
        return
    small = case.model_small if who == "model" else case.guide_small
    wrong = [size for size in sizes if size != case.size]
    fixed = DATA_PLATE in small.plates and small.plates[DATA_PLATE][0] == case.size
    if wrong:
        case.fault(
            "plate-size",
            DATA_PLATE,
            f"The plate `{DATA_PLATE}` in the {who} has size {wrong[0]}, but the data have {case.size} rows.",
            f"Declare it with the size of what it is given: {case.plate_cure}.",
        )
    elif fixed and case.small_size != case.size:
        case.fault(
            "plate-size",
            DATA_PLATE,
            f"The plate `{DATA_PLATE}` in the {who} has size {case.size} whatever it is given, so the program fits no "
            f"mini-batch and no other data.",
            f"Declare it with the size of what it is given: {case.plate_cure}.",
        )
