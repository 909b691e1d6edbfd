"""The history of a fit: bounds gathered on the device, one row per logging interval."""

from __future__ import annotations

import math
from typing import Any

import torch

__all__ = ["Recorder"]


class Recorder:
    """Keep each step's bounds on the device until a row is due; then read them once.

    Args:
        data_size: `N`, for the per-datum column.
        rows: rows already logged (of a resumed run).
    """

    def __init__(self, data_size: int, rows: list[dict[str, Any]] | None = None) -> None:
        self.data_size = data_size
        self.rows: list[dict[str, Any]] = list(rows or [])
        self._pending: list[torch.Tensor] = []
        self._since = 0

    def add(self, step: int, bounds: torch.Tensor) -> None:
        """Take in the bounds ``(count, 2)`` of the steps from `step` on."""
        if not self._pending:
            self._since = step
        self._pending.append(bounds)

    def flush(self, step: int, **columns: Any) -> tuple[dict[str, Any], int | None]:
        """Close the interval at `step`: the new row, and the first step whose bound was not finite (or None).

        `bound` and `loss` are means over the interval; this is the one place where the host waits for the device.
        """
        values = torch.cat(self._pending).double().cpu() if self._pending else torch.empty(0, 2, dtype=torch.float64)
        self._pending = []
        bad = (~torch.isfinite(values)).any(1).nonzero()
        first_bad = None if len(bad) == 0 else self._since + int(bad[0])
        objective, bound = (float(v) for v in values.mean(0)) if len(values) else (math.nan, math.nan)
        row = {
            "step": step,
            "bound": bound,
            "bound_per_datum": bound / self.data_size,
            "loss": -objective,
            **columns,
        }
        if first_bad is None:
            self.rows.append(row)
        return row, first_bad
