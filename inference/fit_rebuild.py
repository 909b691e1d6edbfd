"""Models and guides described in a file and built again, without running anything that the file could have planted."""

from __future__ import annotations

__all__ = ["build_guide_from", "build_model_from", "describe_guide", "describe_model"]

import copy
import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError

_SAFE_NAMES = ("torch.nn.", "torch.nn:", "jensen.")
_SAFE_GUIDES = ("pyro.infer.autoguide.", "pyro.infer.autoguide:", "jensen.")


class _NotPlainError(Exception):
    """A constructor argument that a file cannot hold."""


def describe_model(model: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The model's class and constructor arguments as JSON; tensors among them go to `tensors`."""
    description: dict[str, Any] = {"class": _path(type(model)), "init_arguments": None, "reason": None}
    try:
        arguments = model.init_arguments
        description["init_arguments"] = {k: _encode(value, f"init.{k}", tensors) for k, value in arguments.items()}
    except AttributeError:
        description["reason"] = "the class does not record its constructor's arguments"
    except _NotPlainError as error:
        description["reason"] = f"its constructor took {error}, which a file cannot hold"
    return description


def build_model_from(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype | None, trust: bool
) -> Any:
    """Build the described model with its constructor.

    Raises:
        CheckpointError: if its class cannot be found without importing foreign code, or its arguments were not kept.
    """
    from jensen.models import LatentVariableModel

    path, advice = description["class"], "Pass `model=`, a model of that class."
    module, _, name = path.partition(":")
    if description["init_arguments"] is None:
        raise CheckpointError(f"The model `{name}` cannot be built again: {description['reason']}. {advice}")
    if module not in sys.modules and not module.startswith("jensen.") and not trust:
        raise CheckpointError(
            f"The model's class is in `{module}`, which is not imported. Import it first, pass `model=`, or pass "
            f"`trust=True` to let `load` import it."
        )
    try:
        found = _resolve(path)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(f"The model's class `{path}` cannot be found ({error}). {advice}") from error
    if not (isinstance(found, type) and issubclass(found, LatentVariableModel)):
        raise CheckpointError(f"`{path}` is not a LatentVariableModel. {advice}")
    arguments = {key: _decode(value, tensors) for key, value in description["init_arguments"].items()}
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype or before)
        return _call(found, arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"The model `{name}` could not be built again ({error}). {advice}") from error
    finally:
        torch.set_default_dtype(before)


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
    from jensen.models import CoordinateGuide

    from .guides import GUIDES, NormalGuide

    if guide is None:
        return {"kind": "none"}
    if inspect.ismethod(guide) and guide.__self__ is model:
        return {"kind": "model", "name": guide.__func__.__name__}
    if isinstance(guide, CoordinateGuide):
        return {"kind": "coordinates"}
    if isinstance(guide, NormalGuide):
        return {"kind": "name", "name": "normal"}
    if config.get("guide") in GUIDES:
        return {"kind": "name", "name": config["guide"]}
    path = _path(type(guide))
    known = isinstance(guide, nn.Module) and path.startswith(_SAFE_GUIDES)
    return {"kind": "class" if known else "custom", "class": path}


def build_guide_from(description: Mapping[str, Any], model: Any, guide: Any, batch: Mapping[str, Tensor]) -> Any:
    """Make the described guide for `model`, set up on `batch`; or the one given as `guide`.

    Raises:
        CheckpointError: if it must be passed and `guide` is None.
    """
    from .guides import build_guide

    kind = description["kind"]
    if guide is not None:
        return build_guide(copy.deepcopy(guide) if isinstance(guide, nn.Module) else guide, model, batch)
    if kind == "none":
        return None
    if kind == "model":
        return getattr(model, description["name"])
    if kind == "coordinates":
        return model.coordinate_guide(batch, 0)
    if kind == "name":
        return build_guide(description["name"], model, batch)
    if kind == "class" and description["class"].startswith(_SAFE_GUIDES):
        return build_guide(_resolve(description["class"]), model, batch)
    raise CheckpointError(
        f"The guide `{description['class']}` is your own and cannot be made from a file. Pass `guide=`, as it was "
        f"passed to the method."
    )


def _path(thing: Any) -> str:
    return f"{thing.__module__}:{thing.__qualname__}"


def _resolve(path: str) -> Any:
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _encode(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        tensors[key] = value
        return {"$tensor": key}
    if isinstance(value, (tuple, list)):
        items = [_encode(item, f"{key}.{index}", tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, Mapping) and all(isinstance(name, str) and name[:1] != "$" for name in value):
        return {name: _encode(item, f"{key}.{name}", tensors) for name, item in value.items()}
    if isinstance(value, torch.dtype):
        return {"$dtype": str(value).removeprefix("torch.")}
    if isinstance(value, type) or inspect.isfunction(value) or inspect.isbuiltin(value):
        path = f"{value.__module__}:{value.__qualname__}"
        if path.startswith(_SAFE_NAMES) and "<" not in path:
            return {"$name": path}
    raise _NotPlainError(f"`{key.removeprefix('init.')}`, a {type(value).__name__}")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$tuple" in value:
        return tuple(_decode(item, tensors) for item in value["$tuple"])
    if "$dtype" in value:
        return getattr(torch, value["$dtype"])
    if "$name" in value:
        if not value["$name"].startswith(_SAFE_NAMES):
            raise CheckpointError(f"The file names `{value['$name']}`, which is neither torch.nn's nor jensen's.")
        return _resolve(value["$name"])
    return {key: _decode(item, tensors) for key, item in value.items()}
