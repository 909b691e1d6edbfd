"""Leftovers of killed writers in a folder: known by a journal or a checksum, and removed by the next writer."""

from __future__ import annotations

__all__ = ["Journal", "clean"]

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from .atomic import digest, discard, write_file


class Journal:
    """The files that a writer is about to write or to replace, by name with their checksums; there while it works.

    Attributes:
        files: what the journal of a writer that was killed holds; empty without one.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._path = folder / f".{stem}.saving"
        self.files = self._read()

    def _read(self) -> dict[str, str]:
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        entries = content.items() if isinstance(content, dict) else ()
        return {name: checksum for name, checksum in entries if isinstance(checksum, str) and Path(name).name == name}

    def write(self, files: Mapping[str, str]) -> None:
        """Say what is going to be written, before it is.

        Raises:
            CheckpointError: if the journal cannot be written.
        """
        write_file(self._path, json.dumps(dict(files)).encode())

    def close(self) -> None:
        """All is done."""
        discard(self._path)


def clean(folder: Path, known: Mapping[str, str], kept: Collection[str], stems: Iterable[str]) -> None:
    """Remove what earlier writers left: a file of `known` with that checksum, one that bears its checksum in its name,
    and torn writes of either. Whatever else lies in the folder is somebody else's.

    Args:
        folder: where to look.
        known: checksums by name of files that were written here.
        kept: names that stay.
        stems: names that the bundle's files have without their checksum.
    """
    plain = {re.sub(r"-[0-9a-f]{8}(?=\.\w+$)", "", name) for name in (*known, *stems)}
    marked = "|".join(rf"{re.escape(Path(n).stem)}(-[0-9a-f]{{8}})?{re.escape(Path(n).suffix)}" for n in sorted(plain))
    own, torn = re.compile(marked), re.compile(rf"\.({marked})(\.[0-9a-f]{{8}})?\.tmp")
    for path in folder.iterdir():
        if path.name in kept or path.is_symlink() or not path.is_file():
            continue
        if torn.fullmatch(path.name):
            discard(path)
        elif path.name in known or own.fullmatch(path.name):
            mark = re.search(r"-([0-9a-f]{8})\.\w+$", path.name)
            checksum = known.get(path.name) or (mark[1] if mark else "")
            with suppress(OSError):
                if checksum and digest(path.read_bytes()).startswith(checksum):
                    discard(path)
