"""How a table of text is written (encoding, separator, decimal mark, header): asked for, or seen and said."""

from __future__ import annotations

__all__ = ["MISSING", "TableFormat", "TableOptions", "detect", "is_number"]

import csv
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jensen.inference.errors import ConfigurationError, DataError

MISSING = frozenset(
    {"", "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "#NA", "#N/A N/A"}
    | {"1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)
"""Fields that stand for a missing value: those that pandas takes for one."""

_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
_HEAD_BYTES, _HEAD_ROWS = 2**18, 200
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class TableOptions:
    """What the user said of a file; None where they said nothing.

    Args:
        sep: the character between fields, or its name (``comma``, ``semicolon``, ``tab``, ``bar``, ``space``).
        decimal: the decimal mark, ``.`` or ``,``.
        header: whether the first line names the columns.
        index: the column that names the rows, by its name or its number from 0; ``"none"`` for none.
    """

    sep: str | None = None
    decimal: str | None = None
    header: bool | None = None
    index: str | None = None

    def __post_init__(self) -> None:
        if self.decimal not in (None, ".", ","):
            raise ConfigurationError(f"`--decimal {self.decimal}`: expected . or , for the decimal mark.")
        if self.sep is None:
            return
        sep = {name: mark for mark, name in _NAMES.items()}.get(self.sep, self.sep).replace("\\t", "\t")
        if len(sep) != 1 or sep.isalnum() or sep in "\"'.\r\n-+":
            raise ConfigurationError(
                f"`--sep {self.sep}`: expected one character such as , or ; or one of {', '.join(_NAMES.values())}."
            )
        if sep == self.decimal:
            raise ConfigurationError(f"`--sep` and `--decimal` are both `{sep}`: expected different characters.")
        object.__setattr__(self, "sep", sep)


@dataclass(frozen=True)
class TableFormat:
    """How a file is written; ``names`` are the fields of its first line where those name the columns, else None."""

    encoding: str
    sep: str
    decimal: str
    width: int
    names: tuple[str, ...] | None

    def __str__(self) -> str:
        parts = [f"separator {_NAMES.get(self.sep, self.sep)}"] if self.width > 1 else ["one column"]
        parts += ["decimal comma"] if self.decimal == "," else []
        parts += ["names on line 1" if self.names is not None else "no line of names"]
        parts += [] if self.encoding.startswith("utf-8") else [self.encoding.upper()]
        return ", ".join(parts)


def is_number(field: str, decimal: str = ".") -> bool:
    """Whether a field is written as a number (a missing value is none)."""
    text = field.strip()
    if text in MISSING or "_" in text or (decimal == "," and "." in text):
        return False
    try:
        float(text.replace(",", ".") if decimal == "," else text)
    except ValueError:
        return text in ("True", "False", "TRUE", "FALSE", "true", "false")
    return True


def detect(path: Path, asked: TableOptions) -> TableFormat:
    """Return how the file is written: as asked, and for the rest as its first lines show.

    Raises:
        DataError: it is empty or no text, or its lines differ in their number of fields.
        ConfigurationError: two readings are possible, so the option that decides must be given.
    """
    encoding, lines = _head(path)
    sep, rows = _separate(path, lines, asked)
    decimal = asked.decimal or _decimal(path, rows, sep)
    named = asked.header if asked.header is not None else _has_names(path, rows, decimal)
    _check_widths(path, rows, sep, named, asked.index)
    return TableFormat(encoding, sep, decimal, len(rows[-1]), tuple(rows[0]) if named else None)


def _head(path: Path) -> tuple[str, list[str]]:
    """The encoding and the first lines that are not blank."""
    with open(path, "rb") as file:
        content = file.read(_HEAD_BYTES)
        whole = not file.read(1)
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), "utf-8")
    if not whole:
        content = content[: content.rfind(b"\n") + 1] or content
        content = content[: len(content) // 2 * 2] if encoding == "utf-16" else content
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"`{path}`, line {line}: expected text in UTF-8, got other bytes; save the file so.") from None
    if "\0" in text:
        raise DataError(f"`{path}`: expected text, got a binary file.")
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()][:_HEAD_ROWS]
    if not lines:
        raise DataError(f"`{path}`: expected a table of numbers, got an empty file.")
    return encoding, lines


def _separate(path: Path, lines: Sequence[str], asked: TableOptions) -> tuple[str, list[list[str]]]:
    """The separator and the fields of each line."""
    marks = [asked.sep] if asked.sep is not None else [mark for mark in (";", "\t", "|", ",") if mark != asked.decimal]
    split = {mark: _fields(lines, mark) for mark in marks}
    if asked.sep is not None:
        return asked.sep, split[asked.sep]
    even = [mark for mark in marks if len({len(row) for row in split[mark][1:]}) <= 1 and len(split[mark][-1]) > 1]
    clear = [mark for mark in even if mark != ","] or even  # a comma may also be a decimal mark, or stand in a text
    if len(clear) > 1:
        several = " and ".join(_NAMES[mark] for mark in clear)
        raise ConfigurationError(f"`{path}` can be read with {several} between its fields: say which with --sep.")
    if clear:
        return clear[0], split[clear[0]]
    spaced = _fields(lines, " ")
    if len({len(row) for row in spaced[1:]}) == 1 < len(spaced[-1]) and any(map(is_number, spaced[-1])):
        return " ", spaced
    widest = max(marks, key=lambda mark: max(map(len, split[mark])))
    return widest, split[widest]


def _fields(lines: Sequence[str], sep: str) -> list[list[str]]:
    if sep == " ":
        return [re.split(r"\s+", line.strip()) for line in lines]
    try:
        return [row for row in csv.reader(lines, delimiter=sep, skipinitialspace=True) if row]
    except csv.Error:
        return [[line] for line in lines]


def _decimal(path: Path, rows: Sequence[Sequence[str]], sep: str) -> str:
    """A comma where numbers have one and none has a point."""
    fields = [field.strip() for row in rows for field in row]
    commas = [field for field in fields if re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", field)]
    if not commas:
        return "."
    pointed = next((field for field in fields if re.fullmatch(r"[-+]?\d*\.\d*([eE][-+]?\d+)?", field)), None)
    if pointed is None and not all(re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", field) for field in commas):
        return ","
    other = f"`{pointed}` too" if pointed is not None else "which may be a thousand"
    raise ConfigurationError(
        f"`{path}` writes a number as `{commas[0]}`, {other}: say with --decimal whether its decimal mark is . or ,"
    )


def _has_names(path: Path, rows: Sequence[Sequence[str]], decimal: str) -> bool:
    """Whether the first line names the columns: text above numbers does, numbers do not."""
    first, rest = rows[0], rows[1:]
    known = [(place, field) for place, field in enumerate(first) if field.strip() not in MISSING]
    numbers = [field.strip() for _, field in known if is_number(field, decimal)]
    if not rest:
        return not numbers
    above, again = [], False
    for place, field in known:
        below = [row[place] for row in rest if place < len(row) and row[place].strip() not in MISSING]
        if not is_number(field, decimal):
            again = again or field in below
            if below and all(is_number(value, decimal) for value in below):
                above.append(field)
    if above and not numbers:
        return True
    if numbers and not above and (again or not _may_be_names(numbers, len(numbers) < len(known))):
        return False
    if not numbers and not above and not again and len({field for _, field in known}) == len(known) > 0:
        return True  # text in every column, and none comes again
    shown = ", ".join(field.strip() for field in first[:4]) + (", …" if len(first) > 4 else "")
    raise ConfigurationError(
        f"`{path}`: the first line, `{shown}`, may be names of columns or data: say which with --header or --no-header."
    )


def _may_be_names(numbers: Sequence[str], beside_text: bool) -> bool:
    """Whether numbers in a first line could name columns: years, 0, 1, 2, …, or whole numbers beside a text."""
    if not all(re.fullmatch(r"\d+", number) for number in numbers):
        return False
    steps = {int(after) - int(before) for before, after in itertools.pairwise(numbers)}
    return beside_text or steps == {1}


def _check_widths(path: Path, rows: Sequence[Sequence[str]], sep: str, named: bool, index: str | None) -> None:
    """Every line has as many fields as the last one; the names may lack the index, if it was said to be the first."""
    width = len(rows[-1]) if len(rows) < 3 else max({len(row) for row in rows[1:]}, key=[len(r) for r in rows].count)
    for number, row in enumerate(rows, start=1):
        if len(row) == width:
            continue
        if number == 1 and named and len(row) == width - 1:
            if index == "0":
                continue
            cure = "Name every column, or say --index 0 if the first holds names of the rows, or --sep or --decimal"
        else:
            cure = "Mend the file, or say --sep or --decimal"
        mark = _NAMES.get(sep, sep)
        raise DataError(
            f"`{path}`, line {number}: expected {width} fields between separators ({mark}), as in other lines, got "
            f"{len(row)}. {cure}."
        )
