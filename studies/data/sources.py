"""Data named on the command line: a shipped data set, a text file with a table, or an NPZ file of arrays."""

from __future__ import annotations

__all__ = ["Source", "load_source"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from jensen.datasets import DATASETS, Standardizer
from jensen.inference.errors import ConfigurationError, DataError, nearest, nearest_or_all

from .npz_file import read_npz
from .table_file import Table, read_table
from .table_format import TableOptions

_TABLES, _ARRAYS = (".csv", ".tsv", ".txt"), (".npz",)


@dataclass(frozen=True)
class Source:
    """Data as they are in their place, before a model says what it makes of them.

    Args:
        name: what the data are called.
        arrays: ``(N, …)`` each, by the argument that they are for: numbers with a fraction are float64, and what a fit
            rounds them to is checked there; NaN where a value is missing in a table.
        features: names of the columns of ``x``; may be empty.
        columns: which column of a table is which argument.
        texts: columns of text, by argument: only labels can be that.
        classes: names of the classes that ``y`` codes already; may be empty.
        scaling: what was done to ``x`` already.
        table: the file that they are from, if it is a table.
        notes: what a person should know of how they were read.
    """

    name: str
    arrays: Mapping[str, Tensor]
    features: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    scaling: Standardizer | None = None
    table: Table | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """N."""
        return len(next(iter([*self.arrays.values(), *self.texts.values()])))

    def labels(self, argument: str) -> Sequence[Any] | None:
        """Return the labels of an argument as they stand in their place, None where one is missing; or None."""
        if argument in self.texts:
            return self.texts[argument]
        if argument not in self.arrays:
            return None
        values = self.arrays[argument].tolist()
        if not self.classes:
            return values
        return [self.classes[int(code)] if code >= 0 else None for code in values]

    def called(self, argument: str) -> str:
        """Return what an argument is called, for messages."""
        if self.table is None or argument not in self.columns:
            return f"`{argument}`"
        return f"`{self.table.path}`, column `{self.columns[argument]}`"

    def place(self, argument: str, row: int, column: int = 0) -> str:
        """Return where an entry of an argument is, for messages."""
        if self.table is None:
            return f"`{argument}`, row {row}"
        name = self.columns.get(argument) or self.features[column]
        return f"`{self.table.path}`, line {self.table.line(row)}, column `{name}`"

    def describe(self) -> list[str]:
        """Return lines that say what was read."""
        sizes = [f"{self.size:,} rows"]
        for name, array in sorted(self.arrays.items()):
            shape = " x ".join(map(str, array.shape[1:]))
            sizes.append(f"{shape} columns of {name}" if array.ndim == 2 else f"{name} {shape}".strip())
        sizes += [f"{name} (text)" for name in self.texts]
        lines = [f"{self.name}: {', '.join(sizes)}"]
        lines += [] if self.table is None else [f"{self.table.path.name}: {self.table.form}"]
        lines += [f"column `{column}` is {argument}" for argument, column in self.columns.items()]
        return lines + list(self.notes)


def load_source(
    text: str,
    options: TableOptions | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    features: Sequence[str] = (),
    by_place: bool = False,
) -> Source:
    """Return the data that ``text`` names.

    Args:
        text: the name of a shipped data set, or the path of a table (``.csv``, ``.tsv`` or ``.txt``) or of an ``.npz``
            file (one array for each of the model's arguments).
        options: how a table is written.
        columns: ``{argument: column}`` of a table, by name or number; the columns that are left become ``x``.
        features: the columns of ``x`` if they are known: then the others are left out, and ``columns`` may be absent.
        by_place: with ``features``: whether as many columns as those may stand for them, in their order.

    Raises:
        ConfigurationError: no such data set, file or column, or an option that does not belong to it.
        DataError: the file cannot be read as numbers.
    """
    options, columns = options or TableOptions(), columns or {}
    path = Path(text)
    suffix = path.suffix.lower()
    if suffix not in (*_TABLES, *_ARRAYS):
        if text not in DATASETS:
            hint = nearest_or_all(text, DATASETS)
            raise ConfigurationError(f"`--data {text}`: expected a shipped data set, a .csv or an .npz file.{hint}")
        if not features:
            _refuse(options, columns, f"the data set `{text}`")
        return _shipped(text)
    if not path.is_file():
        raise ConfigurationError(f"`--data {text}`: there is no such file.")
    if suffix in _ARRAYS:
        if not features:
            _refuse(options, columns, "an .npz file, whose arrays are named for the arguments")
        return _archive(path)
    return _table(path, options, columns, features, by_place)


def _refuse(options: TableOptions, columns: Mapping[str, str], what: str) -> None:
    given = [f"--{name}" for name, value in vars(options).items() if value is not None]
    given += ["--target" if argument == "y" else "--column" for argument in columns]
    if given:
        raise ConfigurationError(f"`{given[0]}`: expected with a .csv file only, got it with {what}.")


def _shipped(name: str) -> Source:
    dataset = DATASETS[name]()
    return Source(
        name,
        dataset.train,
        dataset.feature_names,
        classes=tuple(dataset.target_names),
        scaling=dataset.scaling,
        notes=() if dataset.scaling is None else ("x is standardised",),
    )


def _archive(path: Path) -> Source:
    arrays = read_npz(path)
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        raise DataError(f"`{path}`: expected arrays of equal length with at least one row, got {lengths}.")
    return Source(path.stem, arrays)


def _table(
    path: Path, options: TableOptions, columns: Mapping[str, str], features: Sequence[str], by_place: bool
) -> Source:
    table = read_table(path, options)
    places: dict[str, str] = {}
    for argument, column in columns.items():
        if table.index is not None and column == table.index_name:
            raise ConfigurationError(f"`{path}`: column `{column}` is both the index and `{argument}`; expected one.")
        if not features or column in table.frame:
            places[argument] = table.find(column, "--target" if argument == "y" else f"--column {argument}=")
    if len(set(places.values())) < len(places):
        raise ConfigurationError(f"`{path}`: one column is given to two arguments: {places}.")
    source = Source(path.stem, {}, columns=places, table=table, notes=table.notes)
    arrays: dict[str, Tensor] = {}
    texts: dict[str, Sequence[str | None]] = {}
    for argument, column in places.items():
        values: Any = table.frame[column]
        if values.dtype.kind in "iuf":
            arrays[argument] = torch.tensor(values.to_numpy(dtype="float64"))
        else:
            gone = values.isna()
            texts[argument] = [None if gone[row] else str(value) for row, value in enumerate(values)]
    rest = [column for column in table.frame if column not in places.values()]
    if features:
        rest, note = _chosen(path, rest, features, by_place)
        source = replace(source, notes=(*source.notes, *note))
    if rest:
        arrays["x"] = torch.from_numpy(numpy.stack([table.numbers(column) for column in rest], axis=1))
    return replace(source, arrays=arrays, texts=texts, features=tuple(features or rest))


def _chosen(
    path: Path, columns: Sequence[str], features: Sequence[str], by_place: bool
) -> tuple[list[str], tuple[str, ...]]:
    """The columns that stand for `features`, and a word about it."""
    lacking = [name for name in features if name not in columns]
    if not lacking:
        spare = [name for name in columns if name not in features]
        return list(features), (f"not used: {', '.join(f'`{name}`' for name in spare)}",) if spare else ()
    if by_place and len(columns) == len(features):
        return list(columns), ("columns are taken in their order",)
    known = nearest(lacking[0], columns) or f" It has {', '.join(f'`{name}`' for name in columns[:20])}."
    raise DataError(f"`{path}`: expected the columns of the fit, and `{lacking[0]}` is not there.{known}")
