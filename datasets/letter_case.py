"""What lower case means in an alignment: insertions (A2M, a3m), or masked letters like any other."""

from __future__ import annotations

__all__ = ["match_columns"]

import os

import numpy as np

from .alphabets import GAP
from .fasta import Record

LOWER_CASE = ("auto", "insertion", "letter")


def match_columns(
    path: str | os.PathLike[str], records: list[Record], lower_case: str = "auto"
) -> tuple[list[str], list[list[int]], str]:
    """Sequences in upper case without insertions, ``.`` written as a gap; where each letter stood; what was done.

    Rows of unequal lengths are a3m: each row leaves out its own lower-case letters, and its ``.`` if there is lower
    case anywhere. In rows of equal lengths lower case is either of two things, and the columns tell which:

    - *Insertions*, as A2M has them, if no column holds both cases: those with lower case are left out.
    - *Masked* letters (repeats, low complexity, poor quality), or an alignment written in lower case, if columns hold
      both, or nothing is in upper case: the letters count like any other.

    Args:
        path: named in errors.
        records: the sequences.
        lower_case: ``"insertion"`` or ``"letter"`` where the columns are not to decide.

    Raises:
        ValueError: rows of unequal numbers of match columns (names the line and the sequence); lower case that could
            be either; nothing left.
    """
    if not any(any(c.islower() for c in record.sequence) for record in records):
        return _aligned(path, records, False), _everything(records), ""
    equal = len({len(record.sequence) for record in records}) == 1
    if lower_case == "letter" or not any(any(c.isupper() for c in record.sequence) for record in records):
        if lower_case != "insertion":
            return _aligned(path, records, False), _everything(records), "all letters read as upper case"
    elif equal and lower_case == "auto" and (masked := _masked(path, records)):
        return _aligned(path, records, False), _everything(records), masked
    if equal:
        return _without_columns(path, records)
    rows = _aligned(path, records, True)
    kept = [[k for k, c in enumerate(record.sequence) if not (c.islower() or c == ".")] for record in records]
    return rows, kept, "insertions (lower case) left out of each row"


def _everything(records: list[Record]) -> list[list[int]]:
    return [list(range(len(record.sequence))) for record in records]


def _masked(path: str | os.PathLike[str], records: list[Record]) -> str:
    """What is masked, if lower case in these rows of equal lengths is that; empty if it is insertions."""
    text = np.frombuffer("".join(record.sequence for record in records).encode("ascii"), dtype=np.uint8)
    text = text.reshape(len(records), -1)
    lower, upper = (text >= ord("a")) & (text <= ord("z")), (text >= ord("A")) & (text <= ord("Z"))
    both = lower.any(0) & upper.any(0)
    inserted = lower.any(0) & ~upper.any(0)
    ask = 'Pass lower_case="insertion" to leave insertions out, or lower_case="letter" to read all letters.'
    if len(records) == 1:
        raise ValueError(
            f"{path}, line {records[0].line}: `{records[0].name}` is one sequence with lower case, which could be "
            f"insertions or masked letters. {ask}"
        )
    if not both.any():
        return ""
    column = int(np.argmax(both))
    row = int(np.argmax(lower[:, column]))
    where = (
        f"{path}, line {records[row].line_of(column)}: column {column + 1} has {chr(text[row, column])!r} in "
        f"`{records[row].name}` and upper case in other sequences, as masked letters have"
    )
    dotted = inserted & (text == ord(".")).any(0)
    if dotted.any():
        raise ValueError(
            f"{where}; but column {int(np.argmax(dotted)) + 1} has lower case beside `.`, as insertions have. {ask}"
        )
    matches = (upper | (text == ord(GAP))).sum(1)
    if lower.any(1).all() and (matches == matches[0]).all():
        raise ValueError(
            f"{where}; but each sequence has as many letters in upper case, as the rows of an a3m have. {ask}"
        )
    return (
        f"{int(lower.sum()):,} masked letters (lower case) of {int(lower.any(1).sum()):,} sequences read as any other"
    )


def _without_columns(path: str | os.PathLike[str], records: list[Record]) -> tuple[list[str], list[list[int]], str]:
    """Rows of equal lengths without the columns in which there is lower case."""
    drop = {k for record in records for k, c in enumerate(record.sequence) if c.islower()}
    kept = [k for k in range(len(records[0].sequence)) if k not in drop]
    if not kept:
        raise ValueError(
            f'{path}: every column has a lower-case letter, so all are insertions; pass lower_case="letter", or write '
            "the alignment in upper case"
        )
    rows = ["".join([record.sequence[k] for k in kept]).replace(".", GAP) for record in records]
    return rows, [kept] * len(records), f"{len(drop):,} columns of insertions (lower case) left out"


def _aligned(path: str | os.PathLike[str], records: list[Record], inserted: bool) -> list[str]:
    """The rows in upper case, of one length; without lower case and ``.`` if `inserted`."""
    rows = []
    for record in records:
        left = [c for c in record.sequence if not (inserted and (c.islower() or c == "."))]
        rows.append("".join(left).replace(".", GAP).upper())
        if len(left) != len(rows[0]):
            raise ValueError(
                f"{path}, line {record.line}: expected {len(rows[0])} aligned columns, as `{records[0].name}` "
                f"has, got {len(left)} in `{record.name}`; align the sequences, or write insertions, and nothing else, "
                "in lower case"
            )
    if not rows[0]:
        raise ValueError(f"{path}: every letter is lower case, an insertion; write the aligned columns in upper case")
    return rows
