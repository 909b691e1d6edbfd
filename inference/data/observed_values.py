"""All data against the supports of what observes them, before the first step: the first batch is not enough."""

from __future__ import annotations

__all__ = ["check_fed", "check_values"]

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError
from ..pair.eager_run import run_pair
from ..pair.findings import Moving, PairSites, raise_first
from ..pair.findings.finding import Use
from ..pair.findings.observed import check_observed, is_checked
from ..pair.program import Program
from ..pair.supports.membership import belongs
from ..pair.supports.support_sets import support_of, unwrapped
from ..tensors import Batch, Tensors, num_rows
from .base import Data, MemoryData
from .feed import Feed, Stream
from .transforms import apply_transform

_ROWS = 256  # looked at to learn which argument each site observes
_CHUNK = 4096  # rows of one run, where the program itself must say what it observes


def check_values(
    program: Program, data: Batch, rows: int = _ROWS, *, use: Use = "fit", device: torch.device | None = None
) -> None:
    """Check every observed value of data in memory against its support.

    Where a site observes an argument as it is (or a view of it) and its support is one for all rows, the argument is
    checked by itself; where it is all real numbers, nothing is left to check; otherwise the program is run once over
    all the data, in parts, without gradients.

    Args:
        program: the bound pair.
        data: tensors keyed by the model's argument names.
        rows: as many as the pair runs on; all of them are used where it runs on no part of the data.
        use: what the data are for.
        device: where the pair is, if the data may lie elsewhere.

    Raises:
        DataError: for the first value outside; it names site, row, value and support.
    """
    size = num_rows(data)
    rows = min(rows, size)
    head = _rows(data, 0, rows, device)
    try:
        look = _Look(program, program.structure(head).moving, use)
        nodes = look(head)
    except DataError:
        raise
    except Exception:  # a guide with parameters for every datum, a plate of a fixed size: all or nothing
        rows, head = size, _rows(data, 0, size, device)
        look = _Look(program, program.structure(head).moving, use)
        nodes = look(head)
    if rows == size:
        return
    begin = _doubtful(nodes, head, data)
    if begin is None:
        return
    step = max(rows, _CHUNK)
    for start in _starts(size, step, begin):
        look(_rows(data, start, start + step, device), start)


def check_fed(program: Program, data: Data, validation: Batch | None, feed: Feed, transform: Any, seed: int) -> None:
    """Check what a fit will observe: all data in memory, validation data, and of a stream each batch of one epoch.

    A stream's batches are checked as they are read, before the step that they are for.

    Raises:
        DataError: for the first value outside.
    """
    if isinstance(feed, Stream):
        left = data.size

        def see(batch: Tensors, step: int) -> None:
            nonlocal left
            if left > 0:
                left -= num_rows(batch)
                shown = apply_transform(transform, program.model_owner, batch, seed)
                nodes = _Look(program, program.structure(shown).moving, "fit")(shown, part=f" of batch {step}")
                if all(_is_real(_constraint(node)) for node in nodes.values()):
                    left = 0

        feed.look = see
    elif isinstance(data, MemoryData) and feed.shared is None:  # else the first batch was all there is
        check_values(program, apply_transform(transform, program.model_owner, data.tensors, seed), feed.size(0))
    if validation is not None:
        check_values(program, validation, feed.size(0))


@dataclass(frozen=True)
class _Look:
    """Run the pair on a batch, raise what its observed values show for this use, and return the observed sites."""

    program: Program
    moving: Mapping[str, Moving]
    use: Use

    def __call__(self, batch: Batch, first_row: int = 0, part: str = "") -> dict[str, Any]:
        nodes = {name: node for name, node in run_pair(self.program, batch).model.items() if node["is_observed"]}
        sites = PairSites(nodes, {}, batch, moving=self.moving, first_row=first_row, part=part)
        raise_first(check_observed(sites), self.use)
        return nodes


def _rows(data: Batch, start: int, stop: int, device: torch.device | None) -> Tensors:
    return {name: value[start:stop].to(device or value.device) for name, value in data.items()}


def _starts(size: int, step: int, begin: int) -> Iterator[int]:
    """The part of the data that is in doubt first, so that a fault is found at once; then all others."""
    parts = list(range(0, size, step))
    doubtful = begin // step * step
    yield doubtful
    yield from (start for start in parts if start != doubtful)


def _doubtful(nodes: Mapping[str, Any], head: Batch, data: Batch) -> int | None:
    """The first row that the program must be run on to be sure of; None if every site is sure of all data."""
    for node in nodes.values():
        if not is_checked(node):
            continue
        constraint = _constraint(node)
        if _is_real(constraint):
            continue  # what is not finite shows as such
        full = _observes(node, head, data)
        if full is None or constraint is None:
            return 0
        good = belongs(constraint, full[0])
        if not bool(good.all()):  # or a mask hides it, which only the program can tell
            axis = full[1]
            return int((~good).nonzero()[0][axis]) if axis < good.dim() else 0
    return None


def _observes(node: Any, head: Batch, data: Batch) -> tuple[Tensor, int] | None:
    """The value that the site has on all data, if it is an argument or a view of one, and its data dimension."""
    value = node["value"]
    rows, size = num_rows(head), num_rows(data)
    for name, part in head.items():
        whole = data[name]
        if _same_numbers(value, part):
            return whole.reshape(size, *value.shape[1:]), 0
        if value.dtype != part.dtype or value.untyped_storage().data_ptr() != part.untyped_storage().data_ptr():
            continue
        axes = [i for i in range(value.dim()) if value.shape[i] == rows and value.stride(i) == part.stride(0)]
        if len(axes) == 1:
            shape = [size if i == axes[0] else n for i, n in enumerate(value.shape)]
            offset = value.storage_offset() - part.storage_offset() + whole.storage_offset()
            return whole.as_strided(shape, value.stride(), offset), axes[0]
    return None


def _same_numbers(value: Tensor, part: Tensor) -> bool:
    """Whether a value is an argument, cast or with its dimensions named otherwise."""
    if value.dim() == 0 or value.shape[0] != part.shape[0] or value.numel() != part.numel():
        return False
    return bool(torch.eq(value.reshape(-1), part.reshape(-1)).all())


def _is_real(constraint: Any) -> bool:
    return type(constraint).__name__ == "_Real"


def _constraint(node: Any) -> Any:
    """The support of the site's distribution for any row, if it is one for all rows; else None."""
    try:
        support = support_of(node["fn"])
    except (NotImplementedError, RuntimeError):
        return None
    if support is None:
        return None
    support = copy.copy(unwrapped(support))
    for name in ("lower_bound", "upper_bound", "base_constraint"):
        bound = getattr(support, name, None)
        if isinstance(bound, Tensor):
            if any(stride and n > 1 for stride, n in zip(bound.stride(), bound.shape, strict=True)):
                return None
            setattr(support, name, float(bound.reshape(-1)[0]))
        elif name == "base_constraint" and bound is not None:
            return None
    return support
