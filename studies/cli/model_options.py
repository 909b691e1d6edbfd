"""A model from the words after `--set`: options checked by name and by type, sizes taken from the data."""

from __future__ import annotations

__all__ = ["build_model", "check_types"]

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from jensen.inference.errors import ConfigurationError, nearest_or_all

from ..arms.factories import constructor, takes

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "none"}


def build_model(factory: Any, settings: Mapping[str, Any], sizes: Mapping[str, Any] | None = None) -> Any:
    """Return the model that ``factory`` makes from ``settings``, with the sizes of the data where it asks for them.

    Args:
        factory: a model class, a function that returns a model, or a model.
        settings: arguments of the constructor.
        sizes: arguments that follow from the data, taken where the constructor has them and they are not set.

    Raises:
        ConfigurationError: an option that the constructor has not, or of another type; one that it needs and lacks; a
            class that is abstract.
    """
    if isinstance(factory, nn.Module):
        if settings:
            raise ConfigurationError(f"`--set`: expected none for a model that is built already, got {dict(settings)}.")
        return factory
    name = getattr(factory, "__name__", str(factory))
    if inspect.isabstract(factory):
        lacking = ", ".join(f"`{method}`" for method in sorted(factory.__abstractmethods__))
        raise ConfigurationError(f"`{name}` is abstract: it lacks {lacking}. Name a class that has it.")
    parameters = takes(factory)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [key for key, parameter in parameters.items() if parameter.kind not in _REST]
    for key in settings:
        if key not in known and not takes_any:
            raise ConfigurationError(f"`--set {key}=…` is not an option of {name}.{nearest_or_all(key, known)}")
    check_types(factory, settings, lambda key, value: f"`--set {key}={value}`")
    arguments = {key: size for key, size in (sizes or {}).items() if key in known} | dict(settings)
    for key in known:
        if key not in arguments and parameters[key].default is inspect.Parameter.empty:
            raise ConfigurationError(f"`{key}` of {name} has no default: give it with --set {key}=VALUE.")
    return factory(**arguments)


def check_types(factory: Any, values: Mapping[str, Any], spelled: Callable[[str, Any], str]) -> None:
    """Check literals against the annotations of a constructor, as far as these are plain types.

    Args:
        factory: a class or function.
        values: arguments by name.
        spelled: ``(name, value) ->`` how the user wrote it, for messages.

    Raises:
        ConfigurationError: a value of another type.
    """
    made_by = constructor(factory)
    function = getattr(made_by, "func", made_by)
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # annotations that are no types are the author's own affair
        return
    for key, value in values.items():
        if key in hints and not _fits(hints[key], value):
            got = f"the text `{value}`" if isinstance(value, str) else f"`{value!r}`"
            raise ConfigurationError(f"{spelled(key, value)}: expected {_named(hints[key])}, got {got}.")


def _fits(hint: Any, value: Any) -> bool:
    """Whether a literal may stand where `hint` is declared; True where the declaration says nothing about literals."""
    if hint in (Any, None) or isinstance(hint, typing.TypeVar):
        return hint is not None or value is None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(option, value) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is typing.Annotated:
        return _fits(arguments[0], value)
    if isinstance(origin, type):
        items = [argument for argument in arguments if argument is not Ellipsis]
        if isinstance(value, str) and isinstance([], origin) and items != [str]:
            return False
        plain = isinstance(value, list | tuple) and isinstance((), origin) | isinstance([], origin)
        if plain and len(items) == 1:
            return all(_fits(items[0], item) for item in value)
        return plain or isinstance(value, origin)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else True


def _named(hint: Any) -> str:
    """Return a declaration as words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_named(option) for option in arguments)
    if origin is not None and isinstance(origin, type) and len(arguments) in (1, 2) and isinstance([], origin):
        return f"a list such as [{'8, 4' if arguments[0] is int else '…'}]"
    if isinstance(hint, type) and hint not in _WORDS:
        return f"an object of {hint.__name__} (which a file of your own can make, not --set)"
    return _WORDS.get(hint, str(hint))
