"""From words on the command line to objects: model classes, options, methods, objectives."""

from __future__ import annotations

__all__ = ["find_model", "find_object", "load_file", "parse_settings", "resolve_method"]

import ast
import dataclasses
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
from pyro.infer import ELBO

from jensen.inference.errors import ConfigurationError, nearest, nearest_or_all
from jensen.models import LatentVariableModel

from .model_options import check_types
from .shipped import shipped, shipped_methods

_NO_LITERAL = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)  # what `ast.literal_eval` may raise


def find_model(text: str) -> Any:
    """Return the model, or what makes one, that ``text`` names: a shipped class, or as `find_object` finds it.

    Raises:
        ConfigurationError: there is no such thing, or what is found is neither a model nor can make one.
    """
    if ":" in text:
        found = find_object(text)
        if isinstance(found, LatentVariableModel) or (callable(found) and not isinstance(found, ModuleType)):
            return found
        raise ConfigurationError(f"`{text}`: expected a model or what makes one, got {type(found).__name__}.")
    known = shipped("models", LatentVariableModel)
    if text in known:
        return known[text]
    hint = nearest_or_all(text, known)
    raise ConfigurationError(f"`{text}` is no model of jensen.{hint} Your own: MODULE:NAME or path/to/file.py:NAME.")


def find_object(text: str) -> Any:
    """Return the object at ``MODULE:NAME`` or ``path/to/file.py:NAME``; modules beside the caller are found too."""
    source, _, name = text.rpartition(":")
    if not source.strip() or not name.strip():
        raise ConfigurationError(f"`{text}`: expected MODULE:NAME or path/to/file.py:NAME.")
    module = load_file(Path(source)) if source.endswith(".py") else _import(source)
    if not hasattr(module, name):
        options = [option for option in vars(module) if not option.startswith("_")]
        raise ConfigurationError(f"`{name}` is not in `{source}`.{nearest(name, options)}")
    return getattr(module, name)


def load_file(path: Path) -> ModuleType:
    """Run a Python file as a module and return it; as by ``python FILE``, it can import what is beside it.

    Raises:
        ConfigurationError: there is no such file, or it is not Python. What the file itself raises passes through.
    """
    if not path.is_file():
        raise ConfigurationError(f"`{path}`: expected a Python file, found {'a folder' if path.is_dir() else 'none'}.")
    resolved = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, resolved)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise ConfigurationError(f"`{path}`{line}: this is not Python: {reason}.") from error
    _importable(resolved.parent)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, EOFError):
            raise ConfigurationError(f"`{path}` reads from the keyboard: expected a file that asks nothing.") from error
        raise
    return module


def parse_settings(settings: Iterable[str], option: str = "--set", example: str = "latent_dim=8") -> dict[str, Any]:
    """Return ``["latent_dim=8", "likelihood=gaussian"]`` as ``{"latent_dim": 8, "likelihood": "gaussian"}``.

    Values are Python literals; anything else is taken as text.
    """
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigurationError(f"`{option} {setting}`: expected KEY=VALUE, for example {option} {example}.")
        if key in parsed:
            raise ConfigurationError(f"`{option} {key}=…` is given twice; expected it once.")
        parsed[key] = _literal(value)
    return parsed


def resolve_method(name: str, options: Mapping[str, Any], progress: bool | None) -> Any:
    """Return the method with this name and those of `options` that are not None.

    Raises:
        ConfigurationError: there is no such method, or it has no such option; the nearest, or all, are named.
    """
    known = shipped_methods()
    if name not in known:
        raise ConfigurationError(f"`{name}` is no method.{nearest_or_all(name, known)}")
    given = {option: value for option, value in options.items() if value is not None}
    taken = [field.name for field in dataclasses.fields(known[name])]
    for option in given:
        if option not in taken:
            flag = f"--{option.replace('_', '-')}"
            raise ConfigurationError(f"`{flag}` is no option of {name}: leave it out, or choose another --method.")
    if "steps" in given:
        given["steps"] = _resolve_steps(given["steps"])
    if "dtype" in given:
        given["dtype"] = _resolve_dtype(given["dtype"])
    if "objective" in taken:
        given["objective"] = _resolve_objective(given.get("objective", "Trace_ELBO"))
    return known[name](**given, progress=progress)


def _resolve_steps(text: Any) -> Any:
    """A whole number; other words are the method's to take or to refuse."""
    try:
        return int(text)
    except ValueError:
        return text


def _resolve_dtype(text: str) -> torch.dtype:
    known = {"float32": torch.float32, "float64": torch.float64}
    if text not in known:
        raise ConfigurationError(f"`--dtype {text}`: expected float32 or float64.{nearest(text, known)}")
    return known[text]


def _resolve_objective(text: str) -> Any:
    """Return the objective written as ``NAME`` or ``NAME(key=value)``, for example ``IWAE(num_particles=10)``."""
    known = shipped("inference", ELBO)
    name, arguments, keywords = _call(text)
    if name not in known:
        raise ConfigurationError(f"`{name}` is no objective.{nearest_or_all(name, known)}")
    try:
        inspect.signature(known[name]).bind(*arguments, **keywords)
    except TypeError as error:
        signature = inspect.signature(known[name])
        raise ConfigurationError(f"`{text}`: {error}; expected {name}{signature}.") from None
    check_types(known[name], keywords, lambda key, value: f"`{name}({key}={value!r})`")
    try:
        return known[name](*arguments, **keywords)
    except TypeError as error:
        raise ConfigurationError(f"`{text}`: {error}; expected {name}{inspect.signature(known[name])}.") from error


def _call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Read ``NAME`` or ``NAME(literals…)`` without running anything."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, [], {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            values = [ast.literal_eval(argument) for argument in node.args]
            named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg}
            if len(named) == len(node.keywords):
                return node.func.id, values, named
    except _NO_LITERAL:
        pass
    raise ConfigurationError(f"`{text}`: expected NAME or NAME(key=value), for example IWAE(num_particles=10).")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except _NO_LITERAL:
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def _import(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(f"`{name}` is no module's name: expected MODULE:NAME or path/to/file.py:NAME.")
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
