"""A fit read from disk, and nothing in its files believed."""

from __future__ import annotations

__all__ = ["load"]

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jensen.models import CoordinateGuide, LatentVariableModel

from ..errors import CheckpointError
from ..pair.eval_mode import evaluation_mode
from ..pair.function_program import own_copy
from ..pair.program import Program
from ..storage.atomic import parse_tensors
from ..storage.bundle import read_bundle
from ..storage.folders import as_path
from ..warn import warn_user
from .constructor_arguments import NUMBER_TYPES
from .fit import Fit
from .given import check_given, other_arguments, other_shapes
from .rebuild import build_guide_from, build_model_from, part_of
from .record import points_program
from .schema import check_body, check_rows, read_table

_SOME = 1_000  # rows, which are one datum again and again, of programs that cannot be run on one


def load(
    folder: str | Path,
    model: Any = None,
    guide: Callable[..., Any] | None = None,
    *,
    trust: bool = False,
    device: torch.device | str = "cpu",
) -> Fit:
    """Read a fit that :meth:`Fit.save` wrote.

    The model is built again from its class and constructor arguments if the class is jensen's or its module is already
    imported, and the guide from its name or class. What cannot be built from a file must be passed. A file from a
    stranger is safe to load without `trust`: nothing is unpickled or imported, and of the names in it only classes of
    models, layers, distributions and autoguides are obeyed that bear the very name, and a short list of functions.

    Args:
        folder: where the fit was saved.
        model: a model of the fitted kind, whose parameters are then replaced in a copy.
        guide: a guide of the fitted kind (a module, or a callable ``model -> guide``), likewise.
        trust: whether a module named in the file may be imported to find the model's class (importing runs its code).
        device: where to put parameters and data.

    Raises:
        CheckpointError: if the files are missing, damaged or foreign, the model or guide must be passed, or `model` is
            of another class or size.

    Example:
        >>> fit.save("runs/blr"); load("runs/blr").posterior(10)  # doctest: +SKIP
    """
    manifest = as_path("folder", folder).expanduser() / "fit.json"
    if not manifest.exists():
        raise CheckpointError(
            f"`folder` {manifest.parent} holds no fit: it has no fit.json. Pass what was given to `fit.save`."
        )
    try:
        with torch.random.fork_rng(devices=[]):
            return _load(manifest, model, guide, trust, torch.device(device))
    except CheckpointError as error:
        if str(manifest.parent) in str(error):
            raise
        raise CheckpointError(f"{manifest}: {error}") from error
    except Exception as error:  # whatever else the file's content may lead to
        raise CheckpointError(
            f"{manifest} cannot be made into a fit ({type(error).__name__}: {error}). Pass `model=` and `guide=` as "
            f"they were fitted; if that is no help, the file is damaged: take another copy, or fit again."
        ) from error


def _load(manifest: Path, model: Any, guide: Any, trust: bool, device: torch.device) -> Fit:
    body, files = read_bundle(manifest, "fit", ("parameters.safetensors", "history.csv"))
    check_body(body)
    parts = {name: parse_tensors(files[name], manifest.with_name(name)) for name in files if name.endswith("tensors")}
    tensors, draws, data = (parts.get(f"{name}.safetensors") for name in ("parameters", "draws", "data"))
    assert tensors is not None
    prototype, state = part_of(tensors, "prototype."), part_of(tensors, "program.")
    check_rows("prototype", prototype)
    if data is not None:
        check_rows("data", data, body["data_size"])
    stats = parts.get("sample_stats.safetensors")
    if draws is not None:
        check_rows("draws", draws)
        if stats is not None:
            check_rows("sample_stats", stats, len(next(iter(draws.values()))))
    if model is not None:
        rebuilt = own_copy(model)
        check_given(rebuilt, body["model"])
    else:
        rebuilt = build_model_from(body["model"], tensors, _dtype(body), trust)
    try:
        made, program = _pair(rebuilt, body, guide, prototype, state, draws)
    except CheckpointError:
        raise
    except Exception as error:  # the pair is run, and may fail in any way
        raise CheckpointError(_misfit(rebuilt, body, state, str(error))) from error
    if model is not None and (other := other_arguments(model, body["model"])):
        warn_user(f"`model=` was built with other arguments than the fitted model: {'; '.join(other)}.", RuntimeWarning)
    fit = Fit(
        method=body["method"],
        config=body["config"],
        model=rebuilt,
        guide=made,
        history=read_table(_decoded(files["history.csv"])),
        seed=body["seed"],
        data=None if data is None else _to(data, device),
        data_size=body["data_size"],
        status=body["status"],
        info=body["info"],
        draws=None if draws is None else _to(draws, device),
        sample_stats=stats,
        prototype=_to(prototype, device),
        program=program,
    )
    fit.program.to(device)
    if isinstance(rebuilt, nn.Module):
        rebuilt.fitted = body.get("fitted", False)
    if isinstance(made, CoordinateGuide) and isinstance(rebuilt, LatentVariableModel):
        rebuilt.keep_factors(made)
    for name, module in fit.program.named_modules():
        module.training = name in body["training"]
    return fit


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"Its history is not text ({error}): it is damaged.") from error


def _dtype(body: Mapping[str, Any]) -> torch.dtype | None:
    return NUMBER_TYPES[body["dtype"].removeprefix("torch.")] if body["dtype"] else None


def _to(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in tensors.items()}


def _pair(
    model: Any,
    body: Mapping[str, Any],
    guide: Any,
    few: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    draws: Mapping[str, Tensor] | None,
) -> tuple[Callable[..., Any] | None, Program]:
    """Make guide and program with the stored parameters, set up on one datum, or on all where they are per datum."""
    size = body["data_size"]
    batches = [few]
    if any(size in value.shape for value in (*state.values(), *(draws or {}).values())):  # no more than the file holds
        batches.append(_repeated(few, size))
    if draws is not None and body["guide"]["kind"] == "none" and guide is None:
        stored = part_of(state, "model_module.")
        if stored or isinstance(model, nn.Module):  # a function without modules holds nothing
            _fill(model, stored)
        try:
            program, sites = _points(model, batches[-1])
        except Exception:  # one datum is too few, as below
            program, sites = _points(model, _repeated(few, min(size, _SOME)))
        latents = {site.name for site in sites if site.enumerated != "model"}  # what is summed out has no draws
        if set(draws) != latents:
            raise CheckpointError(f"Its draws are of {sorted(draws)}, but the model's latents are {sorted(latents)}.")
        return None, program
    made, program = None, Program(model, None)
    for number, batch in enumerate(batches):
        try:
            made, program = _set_up(model, body, guide, batch)
        except Exception:  # such as a series that looks at the step before: one datum is too few for it
            if number or size < 2:
                raise
            made, program = _set_up(model, body, guide, _repeated(few, min(size, _SOME)))
        shapes = {name: value.shape for name, value in program.state_dict().items()}
        if shapes == {name: value.shape for name, value in state.items()}:
            break
    _fill(program, state)
    return made, program


def _points(model: Any, batch: Mapping[str, Tensor]) -> tuple[Program, list[Any]]:
    """A program for stored draws, and the model's latents."""
    program = points_program(model, batch)
    with evaluation_mode(program, 0):
        return program, list(program.structure(batch).select("latent"))


def _repeated(few: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    return {name: value[:1].expand(rows, *value.shape[1:]) for name, value in few.items()}


def _set_up(model: Any, body: Mapping[str, Any], guide: Any, batch: Mapping[str, Tensor]) -> tuple[Any, Program]:
    """Guide and program with parameters as they are made for a batch."""
    made = build_guide_from(body["guide"], model, guide, batch)
    program = Program(model, made)
    if (dtype := _dtype(body)) is not None:
        program.to(dtype)
    with evaluation_mode(program, 0):
        if not getattr(model, "scored_by_loss", False):  # then it has no joint density to run
            program.structure(batch)
    return made, program


def _fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give the module the stored values, in their own number types; `RuntimeError` if names, shapes or kinds differ."""
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in state.items():
        if name in own and own[name].dtype != value.dtype:
            if not _kindred(own[name].dtype, value.dtype):
                raise RuntimeError(f"`{name}` is {value.dtype} there, {own[name].dtype} here")
            own[name].data = own[name].data.to(value.dtype)
    module.load_state_dict(dict(state), strict=True)


def _kindred(one: torch.dtype, other: torch.dtype) -> bool:
    """Whether both are floating-point, or both integers."""
    return one.is_floating_point == other.is_floating_point and torch.bool not in (one, other)


def _misfit(model: Any, body: Mapping[str, Any], state: Mapping[str, Tensor], error: str) -> str:
    """Why the stored parameters cannot be put into this model: sizes and arguments that differ, or else the error."""
    stored = part_of(state, "model_module.")
    lines = other_shapes(model, stored) if isinstance(model, nn.Module) else []
    found = [*other_arguments(model, body["model"]), *lines[:3]]
    if len(lines) > 3:
        found.append(f"and {len(lines) - 3} more")
    return (
        f"The stored parameters are not those of this model and guide: {'; '.join(found) or error}. Pass `model=` and "
        f"`guide=` built with the arguments of the fitted ones."
    )
