"""What the packages export, by name: concrete classes of a kind, and methods."""

from __future__ import annotations

__all__ = ["shipped", "shipped_methods"]

import dataclasses
import importlib
import inspect
from typing import Any


def shipped(package: str, base: type) -> dict[str, Any]:
    """Return the concrete subclasses of ``base`` that ``jensen.<package>`` exports, by name."""
    module = importlib.import_module(f"jensen.{package}")
    found = {name: getattr(module, name) for name in module.__all__}
    return {
        name: thing
        for name, thing in found.items()
        if isinstance(thing, type) and issubclass(thing, base) and thing is not base and not inspect.isabstract(thing)
    }


def shipped_methods() -> dict[str, Any]:
    """Return the methods that ``jensen.inference`` exports, by name."""
    inference = importlib.import_module("jensen.inference")
    exported = {name: getattr(inference, name) for name in inference.__all__}
    return {
        name: thing
        for name, thing in exported.items()
        if isinstance(thing, type) and dataclasses.is_dataclass(thing) and callable(getattr(thing, "fit", None))
    }
