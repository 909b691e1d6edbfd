"""The data to examine with: as given, faults and all, or invented from the model's own draws."""

from __future__ import annotations

__all__ = ["Given", "invent", "read_data"]

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample

from ..data.base import MemoryData
from ..data.data import as_data
from ..data.tensors import to_tensor
from ..errors import ConfigurationError, DataError, nearest
from ..pair.messengers.minibatch import DATA_PLATE
from ..pair.program import Program
from ..pair.recorded_run import Run, run
from ..pair.signature import Signature
from .report import Finding

_LARGEST = 2_000_000  # numbers examined at most; more data are cut to their first rows
_TRIES = 300
_SIZES = ("feature", "data_shape", "dim", "input", "in_", "column", "vocab", "word", "size")


@dataclass
class Given:
    """A batch to examine with, what to call it, and what was wrong with it."""

    batch: dict[str, torch.Tensor]
    text: str
    faults: list[Finding] = field(default_factory=list)


def read_data(model: Any, signature: Signature, data: Any, dtype: torch.dtype, device: torch.device) -> Given:
    """Read what the caller gave, and every fault in it; the batch holds what can be used of it."""
    faults: list[Finding] = []
    try:
        found = as_data(model, data, dtype=dtype, device=device)
        batch = found.batch() if isinstance(found, MemoryData) else found.head(1024)
        size = found.size
    except (DataError, ConfigurationError) as error:
        batch = _salvage(model, signature, data, faults, dtype, device)
        if not faults:
            message, _, cure = str(error).partition(". ")
            faults.append(Finding("data", "", message.rstrip(".") + ".", cure or "Mend the data."))
        size = len(next(iter(batch.values()))) if batch else 0
    rows = size
    numbers = sum(value.numel() for value in batch.values())
    if numbers > _LARGEST:
        rows = max(64, rows * _LARGEST // numbers)
        batch = {name: value[:rows] for name, value in batch.items()}
    return Given(batch, describe(batch, size), faults)


def describe(batch: Mapping[str, torch.Tensor], size: int) -> str:
    """The batch in words: ``"178 data (x: 178 x 13)"``."""
    if not batch:
        return "none"
    rows = len(next(iter(batch.values())))
    shapes = ", ".join(f"{name}: {' x '.join(map(str, value.shape))}" for name, value in batch.items())
    return f"{size:,} data ({shapes})" if rows == size else f"the first {rows:,} of {size:,} data ({shapes})"


def _salvage(
    model: Any, signature: Signature, data: Any, faults: list[Finding], dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """Every fault of data that cannot be used as they are, argument by argument, and the rows without one."""

    def fault(where: str, error: Exception | str) -> None:
        message, _, cure = str(error).partition(". ")
        faults.append(Finding("data", where, message.rstrip(".") + ".", cure or "Mend the data."))

    if not isinstance(data, Mapping):
        if data is None or isinstance(data, (str, bytes)) or hasattr(data, "columns") or not signature.names:
            return {}
        data = {signature.first: data}
    batch: dict[str, torch.Tensor] = {}
    for name, value in data.items():
        if value is None:
            continue
        if name not in signature.names and not signature.open_ended:
            takes = ", ".join(f"`{option}`" for option in signature.names)
            hint = nearest(name, signature.names)
            fault(name, f"`{signature.model}` takes no argument `{name}`.{hint} It takes {takes}.")
            continue
        try:
            batch[name] = to_tensor(name, value, dtype=dtype, device=device, integer=name in signature.integers)
        except DataError as error:
            fault(name, error)
            try:
                batch[name] = torch.as_tensor(value, dtype=dtype, device=device)
            except (TypeError, ValueError, RuntimeError):
                continue
    for name in signature.required:
        if name not in batch and not any(f.where == name for f in faults):
            fault(name, f"`{signature.model}` also needs `{name}`. Pass it under that key.")
    batch = {name: value for name, value in batch.items() if value.ndim and value.numel()}
    lengths = {name: len(value) for name, value in batch.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        fault("", f"The data have unequal lengths: {listed}. The first dimension of each must be the same N.")
        batch = {name: value[: min(lengths.values())] for name, value in batch.items()}
    if batch:
        rows = next(iter(batch.values())).shape[0]
        good = torch.stack([torch.isfinite(v.reshape(rows, -1)).all(1) for v in batch.values()]).all(0)
        batch = {name: value[good] for name, value in batch.items()} if bool(good.any()) else {}
    check = getattr(model, "check_data", None)
    if batch and check is not None and all(name in batch for name in signature.required):
        try:
            check(**batch)
        except ValueError as error:
            fault("", f"`{signature.model}` cannot use these data: {error}")
    return batch


class _DataSize(Messenger):
    """Gives the plate ``"data"`` the number of rows to draw, whatever size the program asks for."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] == DATA_PLATE and isinstance(msg["fn"], _Subsample):
            msg["value"], msg["done"] = torch.arange(self.size), True


def invent(model: Any, program: Program, signature: Signature, given: Mapping[str, torch.Tensor]) -> Given:
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
        size = len(next(iter(given.values())))
    batch: dict[str, torch.Tensor] = {}
    record = drawn
    for inputs in itertools.islice(_inputs(signature, sizes, size, given), _TRIES):
        batch, record = inputs, run(program, program.model, inputs, handler=None if fixed else _DataSize(size))
        if record.complete:
            break
    else:
        return Given({}, "none")
    batch = _observe(program, signature, batch, record, size)
    if not batch:
        return Given({}, "none")
    return Given(batch, "invented, " + describe(batch, size))


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


def _inputs(
    signature: Signature, sizes: list[tuple[int, ...]], size: int, given: Mapping[str, torch.Tensor]
) -> Iterator[dict[str, torch.Tensor]]:
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


def _observe(
    program: Program, signature: Signature, inputs: dict[str, torch.Tensor], record: Run, size: int
) -> dict[str, torch.Tensor]:
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
