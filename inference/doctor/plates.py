"""Plates: where the data are, how many, what lies outside, and scales set by hand."""

from __future__ import annotations

__all__ = ["check_plates"]

from typing import Any

import torch

from ..minibatch import DATA_PLATE
from .case import Case
from .runs import Run, data_frames, in_data_plate


def check_plates(case: Case) -> None:
    """Look at the plates of model and guide."""
    for who, run in (("model", case.model_run), ("guide", case.guide_run)):
        _sequential(case, who, run)
        _scales(case, who, run)
        _data_size(case, who, run)
        _hidden_dimensions(case, who, run)
    _missing_plate(case)


def _sequential(case: Case, who: str, run: Run) -> None:
    for name, site in run.sites.items():
        for frame in site["cond_indep_stack"]:
            if frame.vectorized or (frame.name != DATA_PLATE and frame.size != case.size):
                continue
            case.fault(
                "sequential-plate",
                name,
                f"The plate `{frame.name}` around `{name}` in the {who} is a loop over the data.",
                f"Write it as a context, {case.plate_cure}, with one sample statement for all data.",
            )
            return


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


def _scales(case: Case, who: str, run: Run) -> None:
    for name, (size, rows) in run.plates.items():
        if rows < size:
            owner = f"The plate `{name}` in the {who} subsamples {rows} of {size}, which scales its sites by hand"
            cure = "Declare it with all that it is given"
            if name == DATA_PLATE:
                case.fault(
                    "hand-set-scale",
                    DATA_PLATE,
                    f"{owner}; mini-batches are scaled once more by the fit.",
                    f"{cure}, {case.plate_cure}, and pass `SVI(batch_size={rows})`.",
                )
            else:
                message = f"{owner}: importance weights are wrong with it."
                case.fault("hand-set-scale", name, message, f"{cure}, without subsampling.")
    inside = {name for name, (size, rows) in run.plates.items() if rows < size}
    scaled: dict[str, list[str]] = {}
    for name, site in run.sites.items():
        scale = site["scale"]
        if any(frame.name in inside for frame in site["cond_indep_stack"]):
            continue
        if isinstance(scale, torch.Tensor) or float(scale) != 1.0:
            number = not isinstance(scale, torch.Tensor) or scale.numel() == 1
            scaled.setdefault(f"{float(scale):g}" if number else "a tensor", []).append(name)
    for shown, names in scaled.items():
        case.fault(
            "hand-set-scale",
            names[0],
            f"The {who} scales {_listed(names)} by {shown} itself: the bound is then no bound on the evidence, and "
            f"importance weights, `log_evidence` and k-hat are wrong.",
            "Remove `poutine.scale`. `SVI(batch_size=…)` scales mini-batches; `BetaELBO` weights the KL.",
        )


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _hidden_dimensions(case: Case, who: str, run: Run) -> None:
    for name, site in run.sites.items():
        shape = _width(site)
        if shape is None or case.has("hidden-dimension", "shape-mismatch", where=name):
            continue
        dims = {frame.dim for frame in site["cond_indep_stack"] if frame.vectorized}
        hidden = [dim for dim in range(-len(shape), 0) if dim not in dims and shape[dim] > 1]
        if not hidden:
            continue
        if not dims and shape[0] == case.size and _follows_data(case, who, name):
            continue  # the data themselves: said by the check of the data plate
        sizes = ", ".join(str(shape[dim]) for dim in hidden)
        own = tuple(site["fn"].batch_shape)
        if own != shape:
            case.fault(
                "hidden-dimension",
                name,
                f"The value of `{name}` has shape {tuple(site['value'].shape)}, its distribution {own}: together they "
                f"make densities of shape {shape}, every value against every parameter.",
                f"Give the value the shape of the distribution, such as `{name}.squeeze(-1)`; or add `.to_event(1)` "
                f"and parameters of the value's shape.",
            )
            continue
        if dims:
            cure = (
                f"If they are features of one datum, put them last (shape ({case.size}, …)) and mark them with "
                f"`.to_event({len(hidden)})`; if they are draws, add a plate for them."
            )
        else:
            cure = f"Add `.to_event({len(hidden)})` to its distribution, or a plate of that size."
        case.fault(
            "hidden-dimension",
            name,
            f"`{name}` in the {who} has batch shape {shape}, and no plate declares its dimension of size {sizes}: are "
            f"those one vector, or independent draws?",
            cure,
        )


def _width(site: Any) -> tuple[int, ...] | None:
    """The shape of the site's log density, or None if value and distribution do not fit."""
    fn, value = site["fn"], site["value"]
    try:
        return tuple(torch.broadcast_shapes(fn.batch_shape, value.shape[: value.dim() - fn.event_dim]))
    except RuntimeError:
        return None


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
