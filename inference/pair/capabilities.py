"""Which methods a model allows."""

from __future__ import annotations

__all__ = ["check_has_evidence", "unsupported_method"]

from typing import Any

from jensen.models import CAVIModel, EMModel

from ..errors import ModelError


def unsupported_method(method: str, model: Any, needed: str) -> ModelError:
    """The error for a model without the closed forms that a method needs; it names the methods that do suit."""
    suited = ["LossMinimization" if getattr(model, "scored_by_loss", False) else "SVI"] + [
        name for name, protocol in (("EM", EMModel), ("CAVI", CAVIModel)) if isinstance(model, protocol)
    ]
    name = type(model).__name__ if not isinstance(model, type) else model.__name__
    return ModelError(
        f"{method} needs a model with {needed}, which `{name}` lacks. It can be fitted by {', '.join(suited)}."
    )


def check_has_evidence(model: Any) -> None:
    """Raise a `ModelError` for a model that is scored by its own loss: there is no evidence to bound."""
    if getattr(model, "scored_by_loss", False):
        name = type(model).__name__
        raise ModelError(
            f"`{name}` has no evidence and no bound on one: its loss compares with no other model's evidence. Fit it "
            f"by `jensen.inference.LossMinimization`, and score it by `{name}.losses`."
        )
