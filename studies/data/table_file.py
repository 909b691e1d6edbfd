"""A table of numbers from a text file: its columns by name, the names of its rows, and what was seen of its form."""

from __future__ import annotations

__all__ = ["Table", "read_table"]

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from jensen.inference.errors import ConfigurationError, DataError, nearest

from .table_format import TableFormat, TableOptions, detect, is_number

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Table:
    """A file that was read.

    Args:
        path: of the file.
        frame: its columns, named by strings (their numbers from 0 where the file has no names), without the index.
        index: names of the rows, or None.
        index_name: of the column that they came from; its number where it has no name.
        form: how the file is written.
        notes: what else a person should know.
    """

    path: Path
    frame: pandas.DataFrame
    index: tuple[str, ...] | None
    index_name: str
    form: TableFormat
    notes: tuple[str, ...] = ()

    def find(self, column: str, option: str) -> str:
        """Return the name of the column that ``option`` names, or gives by its number from 0 (-1 is the last).

        Raises:
            ConfigurationError: there is none.
        """
        return _find(list(self.frame.columns), column, option, self.path)

    def line(self, row: int) -> int:
        """The line of a row, in a file without blank lines."""
        return row + 1 + (self.form.names is not None)

    def numbers(self, column: str) -> Any:
        """Return a column as float64, NaN where a value is missing.

        Raises:
            DataError: it holds something else than numbers.
        """
        import pandas

        values = self.frame[column]
        if not pandas.api.types.is_numeric_dtype(values):
            mark = self.form.decimal
            bad = [k for k, text in enumerate(values) if isinstance(text, str) and not is_number(text, mark)]
            what = f"`{values.iloc[bad[0]]}` in line {self.line(bad[0])}" if bad else f"{values.dtype}"
            raise DataError(
                f"`{self.path}`: expected numbers in column `{column}`, got {what}. Is it the --target or the --index? "
                f"A missing value is an empty field."
            )
        return values.to_numpy(dtype="float64")


def read_table(path: Path, options: TableOptions) -> Table:
    """Read a ``.csv``, ``.tsv`` or ``.txt`` file.

    Raises:
        DataError: it is no table, or has no rows.
        ConfigurationError: its form is not clear without an option, or there is no such index.
    """
    import pandas

    form = detect(path, options)
    try:
        frame = pandas.read_csv(
            path,
            sep=r"\s+" if form.sep == " " else form.sep,
            decimal=form.decimal,
            header=None if form.names is None else 0,
            encoding=form.encoding,
            skipinitialspace=True,
            low_memory=False,
        )
    except pandas.errors.EmptyDataError:
        raise DataError(f"`{path}`: expected at least one row, got none.") from None
    except (ValueError, OverflowError, csv.Error) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"`{path}`: expected a table of numbers: {' '.join(str(error).split())}") from None
    if frame.empty and not len(frame):
        raise DataError(f"`{path}`: expected at least one row, got none.")
    if form.names is not None and len(form.names) < form.width:  # pandas took the first column for an index
        frame = frame.reset_index(names="")
    names = [""] * (form.width - len(form.names)) + list(form.names) if form.names is not None else None
    frame.columns = pandas.Index(_unique(path, names, frame.shape[1]))
    _check_short_rows(path, frame, form)
    notes = []
    if names is not None and frame.shape[1] > 1 and not names[-1].strip() and frame.iloc[:, -1].isna().all():
        frame = frame.iloc[:, :-1]
        notes.append("the last column, empty and without a name, is left out")
    chosen = None
    if options.index is not None and options.index != "none":
        chosen = _find(list(frame.columns), options.index, "--index", path)
    elif options.index is None and names is not None and not names[0].strip() and frame.shape[1] > 1:
        chosen = str(frame.columns[0])
        notes.append("the first column, which has no name, is the index (--index none to keep it)")
    index = None if chosen is None else tuple(map(str, frame.pop(chosen)))
    if frame.shape[1] == 0:
        raise DataError(f"`{path}`: expected a column besides the index, got none.")
    if chosen is None and (counting := _counts(frame)) is not None:
        notes.append(f"column `{counting}` numbers the rows; --index {counting} leaves it out")
    return Table(path, frame, index, chosen or "", form, tuple(notes))


def _unique(path: Path, names: Sequence[str] | None, width: int) -> list[str]:
    """Names of the columns: their numbers where they have none.

    Raises:
        DataError: two columns have one name.
    """
    if names is None:
        return [str(place) for place in range(width)]
    found = [name.strip() or str(place) for place, name in enumerate(names)]
    again = next((name for place, name in enumerate(found) if name in found[:place]), None)
    if again is not None:
        raise DataError(f"`{path}`: two columns are called `{again}`; expected different names.")
    return found


def _find(columns: Sequence[str], column: str, option: str, path: Path) -> str:
    if column in columns:
        return column
    try:
        return columns[int(column)]
    except (ValueError, IndexError):
        known = nearest(column, columns) or f" Columns: {', '.join(columns[:20])}{', …' if len(columns) > 20 else ''}."
        raise ConfigurationError(f"`{option} {column}` is not a column of `{path}`.{known}") from None


def _check_short_rows(path: Path, frame: pandas.DataFrame, form: TableFormat) -> None:
    """Refuse a line with too few fields, which pandas fills up with missing values.

    Raises:
        DataError: there is one.
    """
    if form.sep == " " or not bool(frame.iloc[:, -1].isna().any()):
        return
    with open(path, encoding=form.encoding, newline="") as file:
        reader = csv.reader(file, delimiter=form.sep, skipinitialspace=True)
        for row in reader:
            if row and len(row) < form.width and not (form.width == 1 or (reader.line_num == 1 and form.names)):
                raise DataError(
                    f"`{path}`, line {reader.line_num}: expected {form.width} fields, got {len(row)}. A missing value "
                    f"is an empty field."
                )


def _counts(frame: pandas.DataFrame) -> str | None:
    """The name of a first column of several that only numbers the rows, from 0 or from 1."""
    first = frame.iloc[:, 0]
    if frame.shape[1] < 2 or len(frame) < 3 or first.dtype.kind not in "iu":
        return None
    steps = first.to_numpy() - numpy.arange(len(frame))
    return str(frame.columns[0]) if steps[0] in (0, 1) and (steps == steps[0]).all() else None
