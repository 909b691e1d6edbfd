"""Floors under standard deviations: fractions of each column's own spread in the data that are fitted."""

from __future__ import annotations

__all__ = ["AboveFloor", "Floored", "follow"]

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints, transform_to
from torch.distributions.transforms import Transform

from .column_spread import or_one
from .constraints import FlooredCholesky

_DEFAULT, _IN_UNITS = 1e-6, 1e-3  # `min_scale` where none is given: a fraction now, in the data's units before


class Floored(nn.Module):
    """A model whose buffer `floor` follows the data. Files from before it had one held `min_scale` itself for it."""

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        if "floor" in self._buffers:
            fixed = _IN_UNITS if self.min_scale == _DEFAULT else self.min_scale
            state.setdefault(f"{prefix}floor", torch.full_like(self.floor, fixed))  # type: ignore[arg-type]
        super()._load_from_state_dict(state, prefix, *rest)


class AboveFloor(constraints.Constraint):
    """Numbers above the `floor` that their owner has at present, which broadcasts against them.

    Args:
        owner: the model; it is asked whenever the constraint is used, so that its floor can follow the data.
    """

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def check(self, value: Tensor) -> Tensor:
        """Whether each number is above the floor."""
        return value > self.owner.floor


@transform_to.register(AboveFloor)
def _(constraint: AboveFloor) -> Transform:
    return transform_to(constraints.greater_than(constraint.owner.floor))


@torch.no_grad()
def follow(model: Any, x: Tensor, spread: Tensor) -> None:
    """Set the buffer `floor` of a model to `min_scale` of the data's spread. Its parameters above the new floor stay;
    those below it are lifted to it.

    The floor is at least ten times what rounding does to the largest value: nothing finer is known of the data.

    Args:
        model: with `min_scale`, a fraction.
        x: the data, ``(N, D)``.
        spread: of their columns, ``(D,)``, or of all of them, ``()``; a column without one keeps its own units.
    """
    constrained = {name: constraint for name, (constraint, _) in model._pyro_params.items()}
    kept = {
        name: getattr(model, name).clone()
        for name, constraint in constrained.items()
        if isinstance(constraint, AboveFloor | FlooredCholesky)
    }
    largest = x.nan_to_num().abs().amax(tuple(range(x.dim() - spread.dim())))
    model.floor.copy_(torch.maximum(model.min_scale * or_one(spread), 10 * torch.finfo(x.dtype).eps * largest))
    for name, value in kept.items():
        if isinstance(constrained[name], FlooredCholesky):
            diagonal = value.diagonal(dim1=-2, dim2=-1)
            value = value + torch.diag_embed(diagonal.clamp_min(1.01 * model.floor) - diagonal)
        else:
            value = value.clamp_min(1.01 * model.floor)
        setattr(model, name, value)
