"""The history of a fit: bounds gathered on the device, one row per logging interval."""

from __future__ import annotations

__all__ = ["Recorder", "write_history"]

import csv
import io
import math
from pathlib import Path
from typing import Any

import torch

from ..storage.atomic import write_file


class Recorder:
    """Keep each step's bounds on the device until a row is due; then read them once.

    Args:
        data_size: what the per-datum column divides by: `N`, or the sum of the rows' weights.
    """

    def __init__(self, data_size: float) -> None:
        self.data_size = data_size
        self._pending: list[torch.Tensor] = []
        self._since = 0

    def add(self, step: int, bounds: torch.Tensor) -> None:
        """Take in the bounds ``(count, 2)`` of the steps from `step` on."""
        if not self._pending:
            self._since = step
        self._pending.append(bounds)

    def pending(self) -> tuple[torch.Tensor, int]:
        """The bounds ``(count, 2)`` that no row covers yet, and the step of the first of them."""
        if not self._pending:
            return torch.empty(0, 2, device="cpu"), self._since
        return torch.cat(self._pending), self._since

    def restore(self, pending: torch.Tensor, since: int) -> None:
        """Go back to what :meth:`pending` returned."""
        self._pending, self._since = [pending] if len(pending) else [], since

    def flush(self, **columns: Any) -> tuple[dict[str, Any], int | None]:
        """Close the interval: its row, and the first step whose bound was not finite (or None).

        `bound` and `loss` are means over the interval; this is the one place where the host waits for the device.
        """
        values = torch.cat(self._pending).double().cpu() if self._pending else torch.empty(0, 2, dtype=torch.float64)
        self._pending = []
        bad = (~torch.isfinite(values)).any(1).nonzero()
        first_bad = None if len(bad) == 0 else self._since + int(bad[0])
        objective, bound = (float(v) for v in values.mean(0)) if len(values) else (math.nan, math.nan)
        return {"bound": bound, "bound_per_datum": bound / self.data_size, "loss": -objective, **columns}, first_bad


def write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows as CSV, whole or not at all; a value that a row lacks is left empty.

    Raises:
        CheckpointError: if the file cannot be written.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode())
