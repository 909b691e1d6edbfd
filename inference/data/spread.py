"""Check that a narrower number type keeps the differences between data."""

from __future__ import annotations

__all__ = ["check_spread"]

from typing import Any

import torch

from ..errors import DataError

_NUMBERS, _ROWS = 2**21, 10_000  # looked at, at most: what holds for every hundredth row holds for the column
_LARGEST_SHARE = 0.02  # of a column's spread that the distance of neighbouring numbers may take up


def check_spread(name: str, tensor: torch.Tensor, dtype: torch.dtype, columns: list[Any] | None = None) -> None:
    r"""Refuse a cast that rounds a column's values by as much as they differ from one another.

    In float32 neighbouring numbers near 1.7e9 are 128 apart: times in seconds that lie within an hour become a handful
    of values. A column's spread is a ninetieth part of its values' range, in units of a normal's standard deviation;
    where these are all the same, the standard deviation. Half precisions, which only a caller can ask for, pass.

    Args:
        name: the model's argument, for messages.
        tensor: the data before the cast, ``(N, …)``; NaN passes.
        dtype: of the cast.
        columns: names of the columns of ``(N, D)``.

    Raises:
        DataError: that names the column and the cure.
    """
    if dtype != torch.float32 or tensor.dtype != torch.float64:
        return
    width = max(1, tensor[0].numel())
    step = max(1, len(tensor) // min(_ROWS, max(64, _NUMBERS // width)))
    rows = tensor[::step].reshape(-1, width)
    error = (rows - rows.to(dtype).to(rows.dtype)).abs()
    if len(rows) < 2 or not bool((error > 0).any()):
        return
    centre = rows.nanmedian(0).values
    low, high = torch.nanquantile(rows, rows.new_tensor([0.05, 0.95]), dim=0)
    noise = 1e4 * torch.finfo(rows.dtype).eps * centre.abs()  # a constant that arithmetic left its traces on
    deviation = (rows - centre).square().nanmean(0).sqrt()
    spread = torch.where(high - low > noise, (high - low) / 3.29, deviation)
    gap = 4 * error.nanmedian(0).values  # neighbours' distance: rounding is by a quarter of it in the median
    lost = (gap > _LARGEST_SHARE * spread) & (spread > noise)
    if not bool(lost.any()):
        return
    first = int(lost.nonzero()[0, 0])
    label = "" if tensor.ndim == 1 else f"column {first if columns is None else repr(columns[first])} of "
    near = centre[first].to(dtype)
    neighbours = float(near.nextafter(near.new_tensor(float("inf"))) - near)
    raise DataError(
        f"{label}`{name}` would lose what sets its values apart: they lie near {float(centre[first]):.6g} and spread "
        f"by {float(spread[first]):.3g}, and float32 holds them only to {neighbours:.3g}. Subtract their mean (or "
        "standardise them) first, or fit with dtype=torch.float64 (`--dtype float64` on the command line)."
    )
