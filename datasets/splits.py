"""Split a data set into train, validation and test by a seed, stratified if wanted."""

from __future__ import annotations

__all__ = ["split", "split_rows"]

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .dataset import Dataset


def split(
    dataset: Dataset,
    *,
    validation_size: float = 0,
    test_size: float = 0,
    seed: int = 0,
    stratify: str | None = None,
) -> Dataset:
    """Take rows of `train` away for validation and test.

    Splits that exist already stay as they are: asking for a second test split is an error, asking for a validation
    split beside an official test split is the usual case.

    Args:
        dataset: the data; only its `train` is split.
        validation_size: a number of rows (int) or a fraction of train (float below 1); 0 for none.
        test_size: likewise.
        seed: the same seed gives the same rows, on every machine.
        stratify: key of the class labels whose proportions each split keeps, or None.

    Returns:
        The data set with its splits, and their row numbers in `dataset.rows`. Rows keep their order.

    Example:
        >>> from jensen.datasets import split, wine
        >>> split(wine(), validation_size=0.2, test_size=30, stratify="y").sizes
        {'train': 112, 'validation': 36, 'test': 30}
    """
    for name, size in (("validation", validation_size), ("test", test_size)):
        if size and getattr(dataset, name) is not None:
            raise ValueError(f"`{name}_size`: `{dataset.name}` has a {name} split already; expected 0, got {size}")
    if not validation_size and not test_size:
        return dataset
    if stratify is not None and stratify not in dataset.train:
        raise ValueError(f"`stratify`: expected one of {sorted(dataset.train)} or None, got `{stratify}`")
    labels = None if stratify is None else dataset.train[stratify]
    size = len(next(iter(dataset.train.values())))
    rows = split_rows(size, validation_size=validation_size, test_size=test_size, seed=seed, labels=labels)
    parts = {name: {key: t[index] for key, t in dataset.train.items()} for name, index in rows.items()}
    before = dataset.rows.get("train")
    numbers = {name: index if before is None else before[index] for name, index in rows.items()}
    return replace(dataset, **parts, rows={**dataset.rows, **numbers})  # type: ignore[arg-type]


def split_rows(
    num_rows: int,
    *,
    validation_size: float = 0,
    test_size: float = 0,
    seed: int = 0,
    labels: Tensor | None = None,
) -> dict[str, Tensor]:
    """Row numbers of each split: disjoint, sorted, together `0 ... num_rows - 1`.

    Args:
        num_rows: N.
        validation_size: a number of rows (int) or a fraction (float below 1); 0 for none.
        test_size: likewise.
        seed: of the permutation.
        labels: `(N,)` classes; each split then holds its share of every class, to within one row.

    Raises:
        ValueError: sizes that are negative or leave no row for train; a class with fewer rows than there are splits.
    """
    sizes = {
        "test": _count("test_size", test_size, num_rows),
        "validation": _count("validation_size", validation_size, num_rows),
    }
    sizes = {name: count for name, count in sizes.items() if count}
    if sum(sizes.values()) >= num_rows:
        raise ValueError(
            f"`validation_size`, `test_size`: expected to leave at least one of {num_rows} rows for train, got {sizes}"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_rows, generator=generator)
    if labels is not None:
        order = _interleave_classes(order, labels.cpu(), num_splits=len(sizes) + 1)
    rows, start = {}, 0
    for name, count in sizes.items():
        rows[name] = order[start : start + count].sort().values
        start += count
    return {"train": order[start:].sort().values, **dict(reversed(rows.items()))}


def _count(name: str, size: float, num_rows: int) -> int:
    if size < 0:
        raise ValueError(f"`{name}`: expected a number of rows or a fraction below 1, got {size}")
    if isinstance(size, int) or not size:
        return int(size)
    if size >= 1:
        raise ValueError(f"`{name}`: expected an int (rows) or a float below 1 (fraction), got {size}")
    return max(1, round(size * num_rows))


def _interleave_classes(order: Tensor, labels: Tensor, *, num_splits: int) -> Tensor:
    """Reorder so that every stretch of rows holds each class in proportion: sort by rank within the class."""
    if labels.shape != order.shape:
        raise ValueError(f"`stratify`: expected {len(order)} class labels, got the shape {tuple(labels.shape)}")
    _, classes, counts = labels.unique(return_inverse=True, return_counts=True)
    if counts.min() < num_splits:
        raise ValueError(f"`stratify`: expected every class to have {num_splits} rows or more, got {int(counts.min())}")
    grouped = order[classes[order].argsort(stable=True)]
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(order)) - first[classes[grouped]]
    quantile = torch.empty(len(order), dtype=torch.float64)
    quantile[grouped] = (rank + 0.5) / counts[classes[grouped]].double()
    return order[quantile[order].argsort(stable=True)]
