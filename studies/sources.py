"""Data named on the command line: a shipped data set, a CSV file with a target column, or an NPZ file."""

from __future__ import annotations

__all__ = ["load_source"]

from pathlib import Path
from typing import Any

import torch

from jensen.datasets import DATASETS, Dataset
from jensen.inference.errors import ConfigurationError, DataError, nearest

from .npz_file import read_npz


def load_source(text: str, *, target: str | None = None, standardize: bool = False) -> Dataset:
    """Return the data set that ``text`` names.

    Args:
        text: the name of a shipped data set, or the path of a ``.csv`` file (numbers with a header line; all columns
            but the target become ``x``) or of an ``.npz`` file (one array for each of the model's arguments).
        target: the column of the CSV file that becomes ``y``; text labels become 0, 1, … in sorted order.
        standardize: bring the columns of ``x`` of a file to mean 0 and standard deviation 1.

    Numbers with a fraction are float64: what a fit rounds them to comes after the scaling, and is checked there.

    Raises:
        ConfigurationError: no such data set or file, or an option that does not belong to it.
        DataError: the file cannot be read as numbers.
    """
    path = Path(text)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".npz"):
        if text not in DATASETS:
            hint = nearest(text, DATASETS) or f" Known: {', '.join(DATASETS)}."
            raise ConfigurationError(f"`--data {text}`: expected a shipped data set, a .csv or an .npz file.{hint}")
        if target is not None:
            raise ConfigurationError(f"`--target`: expected with a .csv file only, got it with the data set `{text}`.")
        return DATASETS[text]()
    if not path.is_file():
        raise ConfigurationError(f"`--data {text}`: there is no such file.")
    if suffix == ".npz" and target is not None:
        raise ConfigurationError("`--target`: expected with a .csv file only; name the array `y` in an .npz file.")
    dataset = _csv(path, target) if suffix == ".csv" else _npz(path)
    if standardize:
        from jensen.datasets import standardize as standardize_

        return standardize_(dataset)
    return dataset


def _csv(path: Path, target: str | None) -> Dataset:
    import pandas

    try:
        table = pandas.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"`{path}`: expected a CSV file with a header line: {error}") from None
    if table.empty:
        raise DataError(f"`{path}`: expected at least one row, got none.")
    train: dict[str, torch.Tensor] = {}
    names: tuple[str, ...] = ()
    if target is not None:
        if target not in table:
            known = nearest(target, map(str, table)) or f" Columns: {', '.join(map(str, table))}."
            raise ConfigurationError(f"`--target {target}` is not a column of `{path}`.{known}")
        train["y"], names = _labels(table.pop(target), path)
    for column in table:
        if not pandas.api.types.is_numeric_dtype(table[column]):
            example = table[column].dropna().iloc[0] if table[column].notna().any() else "nothing"
            raise DataError(f"`{path}`: expected numbers in column `{column}`, got `{example}`.")
        if table[column].isna().any():
            row = int(table[column].isna().to_numpy().argmax()) + 2
            raise DataError(f"`{path}`: a value is missing in column `{column}`, line {row}; fill it or drop the line.")
    x = torch.tensor(table.to_numpy(dtype="float64"))
    return Dataset(path.stem, train={"x": x, **train}, feature_names=tuple(map(str, table)), target_names=names)


def _labels(column: Any, path: Path) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return the target: numbers as they are, text as codes with their names."""
    import pandas

    if column.isna().any():
        row = int(column.isna().to_numpy().argmax()) + 2
        raise DataError(f"`{path}`: the target `{column.name}` is missing in line {row}; fill it or drop the line.")
    if pandas.api.types.is_numeric_dtype(column):
        return torch.tensor(column.tolist(), dtype=torch.float64), ()
    classes = sorted(column.astype(str).unique())
    codes = column.astype(str).map({name: code for code, name in enumerate(classes)})
    return torch.tensor(codes.tolist(), dtype=torch.int64), tuple(classes)


def _npz(path: Path) -> Dataset:
    try:
        return Dataset(path.stem, train=read_npz(path))
    except ValueError as error:
        raise DataError(f"`{path}`: {error}") from None
