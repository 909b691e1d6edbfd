"""Models and guides described in a file and built again, without running anything that the file could have planted."""

from __future__ import annotations

__all__ = ["build_guide_from", "build_model_from", "describe_guide", "describe_model", "part_of"]

import copy
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from jensen.models import CAVIModel, CoordinateGuide, LatentVariableModel

from ..errors import CheckpointError
from ..pair.function_program import FunctionProgram, counterparts, with_modules
from ..pair.signature import name_of
from ..storage.names import stable_name
from .constructor_arguments import NotPlainError, decode, encode, find_class

_GUIDE_PACKAGES = ("pyro.infer.autoguide.", "jensen.inference.")
_MANY = 100_000  # an integer above it, among a model's arguments, may be a size that the file does not back


def describe_model(model: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The model's class and constructor arguments as JSON; tensors among them go to `tensors`."""
    description: dict[str, Any] = {"class": stable_name(type(model)), "init_arguments": None, "reason": None}
    try:
        arguments = model.init_arguments
        description["init_arguments"] = {k: encode(value, f"init.{k}", tensors) for k, value in arguments.items()}
    except AttributeError:
        description["reason"] = "the class does not record its constructor's arguments"
        if isinstance(model, FunctionProgram) or not isinstance(model, torch.nn.Module):
            description["reason"] = f"it is the program `{name_of(model)}`, which a file cannot hold"
    except NotPlainError as error:
        description["reason"] = f"its constructor took {error}, which a file cannot hold"
    return description


def build_model_from(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype | None, trust: bool
) -> Any:
    """Build the described model with its constructor.

    Raises:
        CheckpointError: if its class cannot be found without importing anything (unless `trust`), is not a
            `LatentVariableModel`, or its arguments were not kept or are not what a file may hold.
    """
    path, advice = description["class"], "Pass `model=`, a model of that class."
    name = path.partition(":")[2]
    if description["init_arguments"] is None:
        raise CheckpointError(f"The model `{name}` cannot be built again: {description['reason']}. {advice}")
    found = _model_class(path, trust, advice)
    arguments = {key: decode(value, tensors) for key, value in description["init_arguments"].items()}
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype or before)
        _check_sizes(found, arguments, tensors)
        return _call(found, arguments)
    except Exception as error:  # a constructor may object to its arguments in any way
        raise CheckpointError(
            f"The model `{name}` could not be built again ({type(error).__name__}: {error}). {advice}"
        ) from error
    finally:
        torch.set_default_dtype(before)


def _model_class(path: str, trust: bool, advice: str) -> type:
    module = path.partition(":")[0]
    if trust and not module.startswith("jensen."):
        try:
            importlib.import_module(module)
        except Exception as error:  # what a module may raise when it is run
            raise CheckpointError(f"The model's class `{path}` cannot be found ({error}). {advice}") from error
    try:
        return find_class(path, LatentVariableModel)
    except LookupError as error:
        reason = str(error)
    if reason == "its module is not imported":
        raise CheckpointError(
            f"The model's class is in `{module}`, which is not imported. Import it first, pass `model=`, or pass "
            f"`trust=True` to let `load` import it."
        )
    if reason.startswith("it is not a "):
        raise CheckpointError(f"`{path}` is not a LatentVariableModel. {advice}")
    raise CheckpointError(f"The model's class `{path}` cannot be found: {reason}. {advice}")


def _check_sizes(found: type, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse arguments that ask for more than the file holds, before any memory is taken for them."""
    if not any(number > _MANY for number in _integers(arguments)):
        return
    stored = part_of(tensors, "program.model_module.")
    try:
        with torch.device("meta"):  # no memory and no numbers
            own = _call(found, dict(arguments)).state_dict()
    except Exception:  # a model that computes while it is built
        return
    for name, value in own.items():
        if name not in stored or stored[name].shape != value.shape:
            raise ValueError(f"its parameter `{name}` would be {tuple(value.shape)}, which is not what is stored")


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _integers(item)


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of a fit's file whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _call(found: type, arguments: dict[str, Any]) -> Any:
    """Call the constructor, whose ``*args`` (if it has them) were recorded under their own name."""
    parameters = inspect.signature(found).parameters.values()
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    if rest is None or not arguments.get(rest):
        arguments.pop(rest, None) if rest is not None else None
        return found(**arguments)
    first = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    positional = [arguments.pop(name) for name in first]
    return found(*positional, *arguments.pop(rest), **arguments)


def describe_guide(guide: Any, model: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """How to make the guide again: the model's own, a name, an autoguide's class; or not at all."""
    from ..guides import GUIDES, NormalGuide

    if guide is None:
        return {"kind": "none"}
    if inspect.ismethod(guide) and guide.__self__ is model and guide.__func__.__name__ in _guides_of(model):
        return {"kind": "model", "name": guide.__func__.__name__}
    if isinstance(guide, CoordinateGuide):
        return {"kind": "coordinates"}
    if isinstance(guide, NormalGuide):
        return {"kind": "name", "name": "normal"}
    if config.get("guide") in GUIDES:
        return {"kind": "name", "name": config["guide"]}
    path = stable_name(guide if inspect.ismethod(guide) else type(guide))
    try:
        known = find_class(path, AutoGuide, _GUIDE_PACKAGES) is type(guide)
    except LookupError:
        known = False
    return {"kind": "class" if known else "custom", "class": path}


def _guides_of(model: Any) -> tuple[str, ...]:
    """The names of the model's methods that may be its guide."""
    return tuple(name for name in getattr(type(model), "programs", ()) if name != "model")


def build_guide_from(description: Mapping[str, Any], model: Any, guide: Any, batch: Mapping[str, Tensor]) -> Any:
    """Make the described guide for `model`, set up on `batch`; or the one given as `guide`.

    Raises:
        CheckpointError: if it must be passed and `guide` is None.
    """
    from ..guides import GUIDES, build_guide

    kind, name, path = (description.get(key) for key in ("kind", "name", "class"))
    if guide is not None:
        built = build_guide(copy.deepcopy(guide) if isinstance(guide, nn.Module) else guide, model, batch)
        return with_modules(built, counterparts(model, model))
    if kind == "none":
        return None
    if kind == "model" and name in _guides_of(model) and callable(own := getattr(model, name, None)):
        return own
    if kind == "coordinates" and isinstance(model, CAVIModel):
        return model.coordinate_guide(batch, 0)
    if kind == "name" and name in GUIDES:
        return build_guide(name, model, batch)
    if kind == "class":
        try:
            return build_guide(find_class(path, AutoGuide, _GUIDE_PACKAGES), model, batch)
        except LookupError as error:
            raise CheckpointError(
                f"The file names the guide `{path}`, which is not an autoguide of Pyro's or jensen's ({error}). If you "
                f"know the guide, pass `guide=`, as it was passed to the method."
            ) from error
    if kind == "custom":
        raise CheckpointError(
            f"The guide `{path}` is your own and cannot be made from a file. Pass `guide=`, as it was passed to the "
            f"method."
        )
    raise CheckpointError(
        f"The file names the guide {name or kind!r}, which `{type(model).__name__}` does not have. Pass `guide=`, as "
        f"it was passed to the method."
    )
