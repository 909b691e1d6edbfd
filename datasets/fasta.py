"""Read aligned sequences in FASTA format, plain or gzipped, with errors that say in which line."""

from __future__ import annotations

__all__ = ["Record", "read_fasta"]

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """One sequence as it stands in the file.

    Attributes:
        name: the first word after ``>``.
        line: number of the header's line, from 1.
        sequence: its lines, joined.
        lines: ``(number of the line, number of letters)`` of each.
    """

    name: str
    line: int
    sequence: str
    lines: tuple[tuple[int, int], ...]

    def line_of(self, position: int) -> int:
        """The number of the line that holds this letter of the sequence."""
        for number, length in self.lines:
            if position < length:
                return number
            position -= length
        return self.lines[-1][0] if self.lines else self.line


def read_fasta(path: str | os.PathLike[str]) -> list[Record]:
    """The sequences of a FASTA file in UTF-8; a gzip file is unpacked in memory, whatever it is called.

    Raises:
        ValueError: an empty, binary or truncated file, text before the first ``>``, a header without a name or without
            a sequence, a letter outside ASCII in a sequence; with the number of the line.
        FileNotFoundError: no such file.
    """
    path = Path(path).expanduser()
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected a whole gzip file, got {error}; get the file again") from error
    if b"\0" in content:
        raise ValueError(f"{path}: expected text in FASTA format, got a binary file")
    try:
        text = content.decode("utf-8-sig")  # Windows puts a mark of the byte order first
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: expected text in FASTA format, got the byte {error.object[error.start]:#x}"
        ) from error
    found: list[Record] = []
    header: tuple[str, int] | None = None
    parts: list[tuple[int, str]] = []

    def close() -> None:
        if header is None:
            return
        name, line = header
        if not parts:
            raise ValueError(f"{path}, line {line}: `{name}` has no sequence; write it below the header")
        lines = tuple((number, len(part)) for number, part in parts)
        found.append(Record(name, line, "".join(part for _, part in parts), lines))

    for number, raw in enumerate(text.splitlines(), start=1):
        stripped = raw.strip()
        if stripped.startswith(">"):
            close()
            words = stripped[1:].split()
            if not words:
                raise ValueError(f"{path}, line {number}: expected a name after `>`, got none")
            header, parts = (words[0], number), []
        elif stripped and not stripped.startswith(";"):
            if header is None:
                raise ValueError(
                    f"{path}, line {number}: expected a header that starts with `>`, got {stripped[:30]!r}; is this a "
                    "FASTA file?"
                )
            letters = "".join(stripped.split())
            if not letters.isascii():
                foreign = next(letter for letter in letters if not letter.isascii())
                raise ValueError(
                    f"{path}, line {number}: expected letters of ASCII in a sequence, got {foreign!r} in "
                    f"`{header[0]}`; correct the file"
                )
            parts.append((number, letters))
    close()
    if not found:
        raise ValueError(f"{path}: expected at least one sequence in FASTA format, got an empty file")
    return found
