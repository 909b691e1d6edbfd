"""Which methods a model's closed forms allow."""

from __future__ import annotations

from typing import Any

from jensen.models import CAVIModel, EMModel

from .errors import ModelError

__all__ = ["lacking"]


def lacking(method: str, model: Any, needed: str) -> ModelError:
    """The error for a model without the closed forms that a method needs; it names the methods that do suit."""
    suited = ["SVI"] + [
        name for name, protocol in (("EM", EMModel), ("CAVI", CAVIModel)) if isinstance(model, protocol)
    ]
    name = type(model).__name__ if not isinstance(model, type) else model.__name__
    return ModelError(
        f"{method} needs a model with {needed}, which `{name}` lacks. It can be fitted by {', '.join(suited)}."
    )
