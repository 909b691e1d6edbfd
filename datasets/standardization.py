"""Data sets whose columns are standardised by the statistics of their training data."""

from __future__ import annotations

__all__ = ["standardize"]

from dataclasses import replace

from .dataset import Dataset
from .scaling import Standardizer


def standardize(dataset: Dataset, key: str = "x") -> Dataset:
    """The data set with `key` of every split standardised with the mean and scale of its **train** split.

    Validation and test data never enter the statistics. The transform is kept as `dataset.scaling`.

    Raises:
        ValueError: `key` is not in the data set, or the data set is standardised already.
    """
    if key not in dataset.train:
        raise ValueError(f"`key`: expected one of {sorted(dataset.train)}, got `{key}`")
    if dataset.scaling is not None:
        raise ValueError(f"`{dataset.name}` is standardised already; load it with `standardize=False` first")
    scaling = Standardizer.fit(dataset.train[key])
    return replace(dataset.map(lambda batch: {**batch, key: scaling(batch[key])}), scaling=scaling)
