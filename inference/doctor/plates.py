"""The data plate: its size on these data and on fewer, and what of the data lies outside of it."""

from __future__ import annotations

__all__ = ["check_plates"]

from typing import Any

from ..findings import data_frames, in_data_plate
from ..minibatch import DATA_PLATE
from .case import Case
from .runs import Run


def check_plates(case: Case) -> None:
    """Compare the plates with the data, on all of them and on a part."""
    for who, run in (("model", case.model_run), ("guide", case.guide_run)):
        _data_size(case, who, run)
    _missing_plate(case)


def _data_size(case: Case, who: str, run: Run) -> None:
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


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _follows_data(case: Case, who: str, name: str) -> bool:
    """Whether the site's shape changes with the number of data."""
    run, small = (case.model_run, case.model_small) if who == "model" else (case.guide_run, case.guide_small)
    first, second = run.shapes.get(name), small.shapes.get(name)
    if first is None or second is None or case.size == case.small_size:
        return False
    return first != second


def _missing_plate(case: Case) -> None:
    """No plate for the data, or a site of the data outside it."""
    run = case.model_run
    if case.has("sequential-plate"):
        return
    outside = [name for name, site in run.sites.items() if not in_data_plate(site) and _holds_data(case, name, site)]
    if not outside:
        return
    case.forget("hidden-dimension", outside)  # the dimension without a plate is the data's
    listed, have = _listed(outside), "has" if len(outside) == 1 else "have"
    if any(in_data_plate(site) for site in run.sites.values()):
        case.fault(
            "outside-data-plate",
            outside[0],
            f"{listed} {have} one entry for every datum, outside the plate `{DATA_PLATE}`: mini-batches would not "
            f"scale it, and scores per datum would miss it.",
            f"Move it into {case.plate_cure}.",
        )
        return
    other = _plate_of_data(case, outside)
    cure = f"Put it in {case.plate_cure}."
    if other is not None:
        cure = f'Rename the plate `{other}` to "{DATA_PLATE}": {case.plate_cure}'
    case.fault(
        "no-data-plate",
        outside[0],
        f"No plate named `{DATA_PLATE}` is around {listed}, which {have} one entry for every datum: mini-batches, "
        f"scores per datum and `IWAE` per datum are not possible.",
        cure,
    )


def _holds_data(case: Case, name: str, site: Any) -> bool:
    if _follows_data(case, "model", name):
        return True
    value = site["value"]
    if not (site["is_observed"] and value.ndim and len(value) == case.size):
        return False
    return case.size == case.small_size or not case.model_small.complete


def _plate_of_data(case: Case, names: list[str]) -> str | None:
    for name in names:
        for frame in case.model_run.sites[name]["cond_indep_stack"]:
            if frame.vectorized and frame.size == case.size:
                return str(frame.name)
    return None
