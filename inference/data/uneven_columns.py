"""The column of the covariates whose scale or offset stands out."""

from __future__ import annotations

__all__ = ["Column", "covariates", "outstanding_column"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from jensen.models.common.column_spread import column_spread

from ..pair.signature import read_signature
from ..tensors import Batch

_FAR, _UNLIKE, _ALONE = 10.0, 100.0, 1_000.0  # offset over spread; spreads of columns; the spread of a single one
_MOST = 10_000  # columns looked at
_ROWS = 10_000


@dataclass(frozen=True)
class Column:
    """One column: ``(N,)`` numbers.

    Attributes:
        label: as a person knows it, such as ``"the column `year` of `x`"``.
        centre, spread: median, and a standard deviation that a few outliers do not decide.
    """

    label: str
    centre: float
    spread: float

    @property
    def offset(self) -> float:
        """How many spreads its values lie from zero."""
        return abs(self.centre) / self.spread

    @property
    def place(self) -> str:
        """Where its values lie, in words."""
        return f"its values lie near {self.centre:.4g} and spread by {self.spread:.3g}"


def covariates(model: Any, data: Batch, columns: Mapping[str, Sequence[Any]] | None = None) -> list[Column]:
    """The columns of what a model is given and does not draw (arguments without a default), but for constant ones.

    Args:
        model: whose arguments the data are.
        data: ``(N,)`` or ``(N, D)`` each; others, and integers, are left out.
        columns: names, by argument, of those that have any.
    """
    signature = read_signature(model)
    found: list[Column] = []
    for name, value in data.items():
        taken = name in signature.required and value.is_floating_point() and value.dim() in (1, 2) and len(value) > 1
        if taken and value[0].numel() <= _MOST:
            found += _columns(name, value, (columns or {}).get(name))
    return found


def outstanding_column(columns: Sequence[Column]) -> Column | None:
    """The one that lies farthest from zero, in its own spreads, if that is ten or more; else, if their spreads are not
    within a factor of a hundred (of a single column, within a thousand of one), that whose spread is least like one."""
    if not columns:
        return None
    farthest = max(columns, key=lambda column: column.offset)
    if farthest.offset >= _FAR:
        return farthest
    spreads = [column.spread for column in columns]
    odd = max(columns, key=lambda column: abs(math.log(column.spread)))
    if len(columns) == 1:
        return odd if not 1 / _ALONE < odd.spread < _ALONE else None
    return odd if max(spreads) / min(spreads) >= _UNLIKE else None


def _columns(name: str, value: torch.Tensor, names: Sequence[Any] | None) -> Iterator[Column]:
    rows = value[:: max(1, len(value) // _ROWS)].detach().double().reshape(-1, value[0].numel())
    spreads, centres = column_spread(rows), rows.nanmedian(0).values
    for at, (spread, centre) in enumerate(zip(spreads.tolist(), centres.tolist(), strict=True)):
        if spread > 0.0 and math.isfinite(centre):
            label = f"the column {at if names is None else f'`{names[at]}`'} of `{name}`"
            yield Column(label if value.dim() == 2 else f"the column `{name}`", centre, spread)
