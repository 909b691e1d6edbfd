"""Leftovers of killed writers in a folder: known by a journal or a checksum, and removed by the next writer."""

from __future__ import annotations

__all__ = ["clean", "read_journal"]

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from .atomic import digest, discard


def read_journal(path: Path) -> dict[str, str]:
    """The files that a writer was about to write or to replace, by name with their checksums.

    The journal is there while its writer works; one that is found is of a writer that was killed. None gives nothing.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {name: checksum for name, checksum in entries if isinstance(checksum, str) and Path(name).name == name}


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
