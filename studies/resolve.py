"""From words on the command line to objects: model classes, their options, objectives."""

from __future__ import annotations

__all__ = ["build_model", "find_class", "find_object", "load_file", "parse_settings", "resolve_method", "shipped"]

import ast
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from jensen.inference.errors import ConfigurationError, nearest


def shipped(package: str, base: type) -> dict[str, Any]:
    """Return the concrete subclasses of ``base`` that ``jensen.<package>`` exports, by name."""
    module = importlib.import_module(f"jensen.{package}")
    found = {name: getattr(module, name) for name in module.__all__}
    return {
        name: thing
        for name, thing in found.items()
        if isinstance(thing, type) and issubclass(thing, base) and thing is not base and not inspect.isabstract(thing)
    }


def find_class(text: str, package: str, base: type, what: str) -> Any:
    """Return the class or object named by ``text``: a shipped name, ``MODULE:NAME`` or ``path/to/file.py:NAME``.

    Raises:
        ConfigurationError: there is no such thing, or what is found is neither a ``base`` nor makes one.
    """
    if ":" in text:
        found = find_object(text)
        if isinstance(found, base) or (callable(found) and not isinstance(found, ModuleType)):
            return found
        raise ConfigurationError(f"`{text}`: expected a {what} or what makes one, got {type(found).__name__}.")
    known = shipped(package, base)
    if text in known:
        return known[text]
    hint = nearest(text, known) or f" Known: {', '.join(known)}."
    raise ConfigurationError(f"`{text}` is no {what} of jensen.{hint} Your own: MODULE:NAME or path/to/file.py:NAME.")


def find_object(text: str) -> Any:
    """Return the object at ``MODULE:NAME`` or ``path/to/file.py:NAME``; modules beside the caller are found too."""
    source, _, name = text.rpartition(":")
    if not source or not name:
        raise ConfigurationError(f"`{text}`: expected MODULE:NAME or path/to/file.py:NAME.")
    module = load_file(Path(source)) if source.endswith(".py") else _import(source)
    if not hasattr(module, name):
        options = [option for option in vars(module) if not option.startswith("_")]
        raise ConfigurationError(f"`{name}` is not in `{source}`.{nearest(name, options)}")
    return getattr(module, name)


def load_file(path: Path) -> ModuleType:
    """Run a Python file as a module and return it; as by ``python FILE``, it can import what is beside it."""
    if not path.is_file():
        raise ConfigurationError(f"`{path}`: expected a Python file, found none.")
    resolved = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _importable(resolved.parent)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def parse_settings(settings: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Return ``["latent_dim=8", "likelihood=gaussian"]`` as ``{"latent_dim": 8, "likelihood": "gaussian"}``.

    Values are Python literals; anything else is taken as text.
    """
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigurationError(f"`{option} {setting}`: expected KEY=VALUE, for example {option} latent_dim=8.")
        parsed[key] = _literal(value)
    return parsed


def build_model(factory: Any, settings: Mapping[str, Any], x_shape: tuple[int, ...] | None = None) -> Any:
    """Return the model that ``factory`` makes from ``settings``, with the sizes of the data where it asks for them.

    Args:
        factory: a model class, a function that returns a model, or a model.
        settings: arguments of the constructor.
        x_shape: the shape of one datum, which gives ``num_features`` and ``data_shape`` unless they are set.
    """
    if isinstance(factory, nn.Module):
        if settings:
            raise ConfigurationError(f"`--set`: expected none for a model that is built already, got {dict(settings)}.")
        return factory
    constructor: Any = factory
    if isinstance(factory, type):  # asked for its constructor, which a metaclass may hide from `signature`
        constructor = functools.partial(constructor.__init__, None)
    parameters = inspect.signature(constructor).parameters
    name = getattr(factory, "__name__", str(factory))
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key in settings:
        if key not in parameters and not takes_any:
            hint = nearest(key, parameters) or f" Known: {', '.join(parameters)}."
            raise ConfigurationError(f"`--set {key}=…` is not an option of {name}.{hint}")
    arguments = dict(settings)
    if x_shape is not None:
        sizes = {"num_features": x_shape[0] if len(x_shape) == 1 else None, "data_shape": x_shape}
        arguments = {key: size for key, size in sizes.items() if key in parameters and size is not None} | arguments
    positional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for key, parameter in parameters.items():
        if key not in arguments and parameter.default is parameter.empty and parameter.kind not in positional:
            raise ConfigurationError(f"`{key}` of {name} has no default: give it with --set {key}=VALUE.")
    return factory(**arguments)


def resolve_method(name: str, options: Mapping[str, Any], progress: bool | None) -> Any:
    """Return the method with this name and those of `options` that are not None.

    Raises:
        ConfigurationError: there is no such method, or it has no such option; the nearest, or all, are named.
    """
    from .catalogue import shipped_methods

    known = shipped_methods()
    if name not in known:
        hint = nearest(name, known) or f" Known: {', '.join(known)}."
        raise ConfigurationError(f"`{name}` is no method.{hint}")
    given = {option: value for option, value in options.items() if value is not None}
    taken = [field.name for field in dataclasses.fields(known[name])]
    for option in given:
        if option not in taken:
            flag = f"--{option.replace('_', '-')}"
            raise ConfigurationError(f"`{flag}` is no option of {name}: leave it out, or choose another --method.")
    if "dtype" in given:
        given["dtype"] = _resolve_dtype(given["dtype"])
    if "objective" in taken:
        given["objective"] = _resolve_objective(given.get("objective", "Trace_ELBO"))
    return known[name](**given, progress=progress)


def _resolve_dtype(text: str) -> torch.dtype:
    known = {"float32": torch.float32, "float64": torch.float64}
    if text not in known:
        raise ConfigurationError(f"`--dtype {text}`: expected float32 or float64.{nearest(text, known)}")
    return known[text]


def _resolve_objective(text: str) -> Any:
    """Return the objective written as ``NAME`` or ``NAME(key=value)``, for example ``IWAE(num_particles=10)``."""
    from pyro.infer import ELBO

    known = shipped("inference", ELBO)
    name, arguments, keywords = _call(text)
    if name not in known:
        hint = nearest(name, known) or f" Known: {', '.join(known)}."
        raise ConfigurationError(f"`{name}` is no objective.{hint}")
    try:
        inspect.signature(known[name]).bind(*arguments, **keywords)
    except TypeError as error:
        signature = inspect.signature(known[name])
        raise ConfigurationError(f"`{text}`: {error}; expected {name}{signature}.") from None
    return known[name](*arguments, **keywords)


def _call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Read ``NAME`` or ``NAME(literals…)`` without running anything."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, [], {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            values = [ast.literal_eval(argument) for argument in node.args]
            keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg}
            return node.func.id, values, keywords
    except (SyntaxError, ValueError):
        pass
    raise ConfigurationError(f"`{text}`: expected NAME or NAME(key=value), for example IWAE(num_particles=10).")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _import(name: str) -> ModuleType:
    _importable(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise  # the module exists, and something that it imports does not
        raise ConfigurationError(f"`{name}`: no such module here or among the installed packages.") from None


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
