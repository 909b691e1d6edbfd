"""A fit on disk: fit.json, parameters.safetensors, history.csv, and draws and data where there are any."""

from __future__ import annotations

__all__ = ["load_fit", "save_fit"]

import copy
import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError
from .fit_context import ready
from .fit_rebuild import build_guide_from, build_model_from, describe_guide, describe_model
from .folders import as_path
from .program import Program
from .storage import dump_tensors, parse_tensors, prepare_folder, read_bundle, write_bundle

if TYPE_CHECKING:
    import pandas

    from .fit import Fit

_DATA_BYTES = 16 * 2**20


def save_fit(fit: Fit, folder: str | Path, data: bool | None) -> Path:
    """See :meth:`Fit.save`."""
    place = prepare_folder(as_path("folder", folder))
    tensors = {f"program.{name}": value for name, value in fit.program.state_dict().items()}
    tensors |= {f"prototype.{name}": value for name, value in fit.prototype.items()}
    body = {
        "method": fit.method,
        "config": fit.config,
        "seed": fit.seed,
        "data_size": fit.data_size,
        "status": fit.status,
        "info": fit.info,
        "model": describe_model(fit.model, tensors),
        "fitted": getattr(fit.model, "fitted", False),
        "guide": describe_guide(fit.guide, fit.model, fit.config),
        "dtype": next((str(p.dtype) for p in fit.program.parameters() if p.is_floating_point()), None),
        "training": sorted(name for name, module in fit.program.named_modules() if module.training),
    }
    files = {
        "parameters.safetensors": dump_tensors(tensors),
        "history.csv": fit.history.to_csv(index=False).encode(),
    }
    if fit.draws is not None:
        files["draws.safetensors"] = dump_tensors(fit.draws)
    if fit.data is not None:
        size = sum(value.numel() * value.element_size() for value in fit.data.values())
        if data or (data is None and size <= _DATA_BYTES):
            files["data.safetensors"] = dump_tensors(fit.data)
    write_bundle(place, "fit", "fit", body, files)
    return place


def load_fit(folder: str | Path, model: Any, guide: Any, trust: bool, device: torch.device) -> Fit:
    """See :func:`jensen.inference.fit.load`."""
    with torch.random.fork_rng(devices=[]):
        return _load(as_path("folder", folder).expanduser(), model, guide, trust, device)


def _load(place: Path, model: Any, guide: Any, trust: bool, device: torch.device) -> Fit:
    from .fit import Fit

    if not (place / "fit.json").exists():
        raise CheckpointError(f"`folder` {place} holds no fit: it has no fit.json. Pass what was given to `fit.save`.")
    body, files = read_bundle(place / "fit.json", "fit")
    tensors = parse_tensors(files["parameters.safetensors"], place / "parameters.safetensors")
    prototype = _part(tensors, "prototype.")
    dtype = getattr(torch, body["dtype"].removeprefix("torch.")) if body["dtype"] else None
    rebuilt = copy.deepcopy(model) if model is not None else build_model_from(body["model"], tensors, dtype, trust)
    state, few = _part(tensors, "program."), prototype
    draws = parse_tensors(files["draws.safetensors"]) if "draws.safetensors" in files else None
    program = made = None
    if draws is None or body["guide"]["kind"] != "none":
        made, program = _pair(rebuilt, body, guide, few, state)
        fill(program, state)
    else:
        fill_model(rebuilt, state)
    fit = Fit(
        method=body["method"],
        config=body["config"],
        model=rebuilt,
        guide=made,
        history=read_table(files["history.csv"].decode()),
        seed=body["seed"],
        data=_to(parse_tensors(files["data.safetensors"]), device) if "data.safetensors" in files else None,
        data_size=body["data_size"],
        status=body["status"],
        info=body["info"],
        draws=None if draws is None else _to(draws, device),
        prototype=_to(prototype, device),
        program=program,  # type: ignore[arg-type]
    )
    fit.program.to(device)
    rebuilt.fitted = body.get("fitted", False)
    for name, module in fit.program.named_modules():
        module.training = name in body["training"]
    return fit


def read_table(text: str) -> pandas.DataFrame:
    """A CSV file as a table, with floats exactly as they were written (pandas' own reader may round the last digit)."""
    import pandas

    header, *rows = csv.reader(io.StringIO(text))
    columns = {name: [row[index] for row in rows] for index, name in enumerate(header)}
    return pandas.DataFrame({name: _numbers(cells) for name, cells in columns.items()})


def _numbers(cells: list[str]) -> list[Any]:
    for kind in (int, lambda cell: float(cell or "nan")):
        try:
            return [kind(cell) for cell in cells]
        except ValueError:
            continue
    return list(cells)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _to(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in tensors.items()}


def _pair(
    model: Any, body: Mapping[str, Any], guide: Any, few: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[Callable[..., Any] | None, Program]:
    """Make guide and program, set up on one datum, or on all of them where parameters are per datum."""
    size = body["data_size"]
    whole = {name: value[:1].expand(size, *value.shape[1:]) for name, value in few.items()}
    made, program = None, Program(model, None)
    for batch in (few, whole):
        made = build_guide_from(body["guide"], model, guide, batch)
        program = Program(model, made)
        if body["dtype"]:
            program.to(getattr(torch, body["dtype"].removeprefix("torch.")))
        with ready(program, 0):
            if not getattr(model, "scored_by_loss", False):  # then it has no joint density to run
                program.structure(batch)
        shapes = {name: value.shape for name, value in program.state_dict().items()}
        if shapes == {name: value.shape for name, value in state.items()}:
            break
    return made, program


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the module the stored values, in their own number types.

    Raises:
        CheckpointError: if names or shapes differ.
    """
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in state.items():
        if name in own and own[name].dtype != value.dtype:
            own[name].data = own[name].data.to(value.dtype)
    try:
        module.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"The stored parameters are not those of this model and guide. {error} Pass `model=` and `guide=` built "
            f"with the arguments of the fitted ones."
        ) from error


def fill_model(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill the model alone, for a fit without a guide."""
    fill(model, _part(state, "model_module."))
