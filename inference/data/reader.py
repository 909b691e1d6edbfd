"""Arrays by argument name as a checked batch of one model: from memory, from a stream, and for the doctor."""

from __future__ import annotations

__all__ = ["Fault", "Reader", "own_check", "unequal_lengths"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import DataError
from ..pair.signature import Fault, Signature, name_of
from ..tensors import Batch, Tensors
from .index_arguments import with_indices
from .parts import columns_of, is_empty, parts_of_item
from .tensors import to_tensor


@dataclass
class Reader:
    """Reads batches of one model.

    Attributes:
        model: asked for what may be missing or sparse, and for its own check.
        signature: of its program. The first batch settles which integers stay integers.
        dtype, device: of the batches.
        observed: whether something that the model observes must be given, as in a fit.
        check: whether the data must pass the model's own `check_data`.
    """

    model: Any
    signature: Signature
    dtype: torch.dtype
    device: torch.device
    observed: bool = True
    check: bool = True
    _settled: bool = field(default=False, init=False)

    def __call__(self, parts: Mapping[str, Any]) -> Tensors:
        """The batch that the arrays are.

        Raises:
            DataError: the first fault; see :func:`~jensen.inference.data.data.as_data`.
        """
        batch, faults = self.read(parts)
        for _, error in (*faults, *unequal_lengths(batch)):
            raise error
        if self.check:
            own_check(self.model, batch, parts=parts)
        return batch

    def item(self, item: Any) -> Tensors:
        """The batch that a collated item of a Dataset, or a batch of a loader, is."""
        return self(parts_of_item(self.signature, item))

    def read(self, parts: Mapping[str, Any]) -> tuple[Tensors, list[Fault]]:
        """Each array that can be read, and every fault of a key or an array, with the argument it is about."""
        if not self._settled:
            self.signature = with_indices(self.model, self.signature, parts, self.dtype, self.device)
            self._settled = True
        signature = self.signature
        may_miss, may_be_sparse = getattr(self.model, "nan_allowed", ()), getattr(self.model, "sparse_allowed", ())
        drawn = [name for name in signature.observed if name not in may_miss]
        parts = {name: x for name, x in parts.items() if x is not None and not (name in drawn and is_empty(x))}
        faults = list(signature.faults(parts, observed=self.observed))
        if not parts:
            faults.append(("", DataError(f"The data are empty: `{signature.model}` was given no arrays.")))
        batch = {}
        for name in (name for name in parts if signature.takes(name)):
            try:
                batch[name] = to_tensor(
                    name,
                    parts[name],
                    dtype=self.dtype,
                    device=self.device,
                    integer=name in signature.integers,
                    missing=name in may_miss,
                    sparse=name in may_be_sparse,
                )
            except DataError as error:
                faults.append((name, error))
        return batch, faults


def own_check(model: Any, batch: Batch, what: str = "these data", parts: Mapping[str, Any] | None = None) -> None:
    """Let a model look at a batch, if it has a `check_data`.

    Raises:
        DataError: if it cannot use `what` the batch is; the columns of DataFrames among the `parts` given are named.
    """
    check = getattr(model, "check_data", None)
    if check is None:
        return
    try:
        check(**batch)
    except ValueError as error:
        columns = "".join(columns_of(name, value) for name, value in (parts or {}).items())
        raise DataError(f"`{name_of(model)}` cannot use {what}: {error}{columns}") from error


def unequal_lengths(batch: Batch) -> Iterator[Fault]:
    """The fault of arrays that do not have one length."""
    lengths = {name: len(value) for name, value in batch.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"`{name}` has {length}" for name, length in lengths.items())
        text = f"The data have unequal lengths: {listed}. The first dimension of each must be the same N."
        yield "", DataError(text)
