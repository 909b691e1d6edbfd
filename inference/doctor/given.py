"""The data to examine with: as given, faults and all, or invented from the model's own draws."""

from __future__ import annotations

__all__ = ["Given", "invent", "read_data"]

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from jensen.models.common.sampling import DataSize

from ..data.base import MemoryData
from ..data.data import as_data
from ..data.parts import parts_of
from ..data.reader import Fault, Reader, own_check, unequal_lengths
from ..errors import ConfigurationError, DataError
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.program import Program
from ..pair.recorded_run import Run, run
from ..pair.signature import Signature
from ..tensors import Batch, Tensors
from .failures import from_error
from .report import Finding

_LARGEST = 2_000_000  # numbers examined at most; more data are cut to their first rows
_TRIES = 300
_SIZES = ("feature", "data_shape", "dim", "input", "in_", "column", "vocab", "word", "size")


@dataclass
class Given:
    """A batch to examine with, what to call it, and what was wrong with it."""

    batch: Tensors = field(default_factory=dict)
    text: str = "none"
    faults: list[Finding] = field(default_factory=list)


def read_data(model: Any, signature: Signature, data: Any, dtype: torch.dtype, device: torch.device) -> Given:
    """Read what the caller gave as a fit does, and every fault in it; the batch holds what can be used of it."""
    faults: Sequence[tuple[str, Exception]] = []
    try:
        found = as_data(model, data, dtype=dtype, device=device)
        batch, size = found.batch() if isinstance(found, MemoryData) else found.head(1024), found.size
    except (DataError, ConfigurationError) as error:
        batch, faults = _salvage(Reader(model, signature, dtype, device), data)
        size, faults = _rows(batch), faults or [("", error)]
    rows = size
    numbers = sum(value.numel() for value in batch.values())
    if numbers > _LARGEST:
        rows = max(64, rows * _LARGEST // numbers)
        batch = {name: value[:rows] for name, value in batch.items()}
    said = [from_error("data", where, error, "Mend the data.") for where, error in faults]
    return Given(batch, _describe(batch, size), said)


def _rows(batch: Batch) -> int:
    return min(map(len, batch.values()), default=0)


def _describe(batch: Batch, size: int) -> str:
    """The batch in words: ``"178 data (x: 178 x 13)"``."""
    if not batch:
        return "none"
    rows = _rows(batch)
    shapes = ", ".join(f"{name}: {' x '.join(map(str, value.shape))}" for name, value in batch.items())
    return f"{size:,} data ({shapes})" if rows == size else f"the first {rows:,} of {size:,} data ({shapes})"


def _salvage(reader: Reader, data: Any) -> tuple[Tensors, list[Fault]]:
    """The rows without a fault of data that cannot be used as they are, and every fault."""
    if isinstance(data, (Dataset, DataLoader)):
        return {}, []
    try:
        parts = parts_of(reader.signature, data)
    except DataError:  # what was raised already
        return {}, []
    batch, faults = reader.read(parts)
    for name in (name for name, _ in faults if name in parts and reader.signature.takes(name)):
        with suppress(TypeError, ValueError, RuntimeError):
            batch[name] = torch.as_tensor(parts[name], dtype=reader.dtype, device=reader.device)
    batch = {name: batch[name] for name in parts if name in batch and batch[name].ndim and batch[name].numel()}
    if not batch:
        return {}, faults
    faults += unequal_lengths(batch)
    batch = {name: value[: _rows(batch)] for name, value in batch.items()}
    good = torch.stack([torch.isfinite(value.reshape(_rows(batch), -1)).all(1) for value in batch.values()]).all(0)
    batch = {name: value[good] for name, value in batch.items()} if bool(good.any()) else {}
    if all(name in batch for name in reader.signature.required):
        try:
            own_check(reader.model, batch, parts=parts)
        except DataError as error:
            faults.append(("", error))
    return batch, faults


def invent(model: Any, program: Program, signature: Signature, given: Batch) -> Given:
    """Invent a batch: inputs of plausible shapes, and observations drawn from the model itself.

    Args:
        model: as passed, asked for its sizes.
        program: a copy of it, which is run.
        signature: of the model.
        given: what of the data could be used; it is kept.

    Returns:
        The batch; empty if no shapes were found that the model takes.
    """
    sizes = _sizes(model)
    drawn = run(program, program.model, {})
    fixed = [rows for name, (_, rows) in drawn.plates.items() if name == DATA_PLATE and rows > 1]
    taken = {number for size in sizes for number in size}
    size = (fixed or [n for n in range(20, 99) if n not in taken])[0]
    if given:
        size = _rows(given)
    for batch in itertools.islice(_inputs(signature, sizes, size, given), _TRIES):
        record = run(program, program.model, batch, handler=None if fixed else DataSize(size))
        if record.complete:
            batch = _observe(program, signature, batch, record, size)
            return Given(batch, "invented, " + _describe(batch, size)) if batch else Given()
    return Given()


def _sizes(model: Any) -> list[tuple[int, ...]]:
    """Shapes of one datum that the model's constructor was told, the likeliest first."""
    arguments = {name: value for name, value in vars(model).items() if not name.startswith("_")}
    arguments |= getattr(model, "init_arguments", {})
    found = []
    for name, value in arguments.items():
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 100_000:
            value = (value,)
        if isinstance(value, tuple) and value and all(isinstance(item, int) and item > 0 for item in value):
            rank = next((k for k, part in enumerate(_SIZES) if part in name), len(_SIZES))
            found.append((rank, value))
    return list(dict.fromkeys(size for _, size in sorted(found, key=lambda item: item[0])))


def _inputs(signature: Signature, sizes: list[tuple[int, ...]], size: int, given: Batch) -> Iterator[Tensors]:
    generator = torch.Generator().manual_seed(0)
    names = [name for name in signature.required if name not in given]
    options = []
    for name in names:
        wide = [(size, *datum) for datum in sizes]
        plain = [(size,), (size, 1), (size, 2)]
        options.append(wide + plain if name == signature.names[0] else plain[:1] + wide + plain[1:])
    for shapes in itertools.product(*options):
        inputs = dict(given)
        for name, shape in zip(names, shapes, strict=True):
            if name in signature.integers:
                inputs[name] = torch.zeros(shape, dtype=torch.int64)
            else:
                inputs[name] = torch.randn(shape, generator=generator, dtype=torch.get_default_dtype())
        yield inputs


def _observe(program: Program, signature: Signature, inputs: Tensors, record: Run, size: int) -> Tensors:
    """The inputs with what the model observes replaced by, or filled in with, its own draws."""
    batch = dict(inputs)
    for name, value in inputs.items():
        for site in record.sites.values():
            if site["is_observed"] and isinstance(site["value"], torch.Tensor) and site["value"] is value:
                batch[name] = site["fn"].sample().detach()
    left = []
    for name in signature.observed:
        if name in batch:
            continue
        if name in record.sites:
            batch[name] = record.sites[name]["value"].detach()
        else:
            left.append(name)
    for name in left:  # an argument called otherwise than its site: try every draw until one is observed
        for site in reversed(list(record.sites.values())):
            value = site["value"].detach()
            if site["is_observed"] or value.ndim == 0 or len(value) != size:
                continue
            again = run(program, program.model, {**batch, name: value})
            if any(s["is_observed"] and s["value"] is value for s in again.sites.values()):
                batch[name] = value
                break
    order = [name for name in signature.names if name in batch]
    return {name: batch[name] for name in order if batch[name].ndim and len(batch[name]) == size}
