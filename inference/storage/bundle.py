"""Files that belong together: a JSON that names them with their checksums, and whose arrival is the commit."""

from __future__ import annotations

__all__ = ["FORMAT_VERSION", "read_bundle", "write_bundle"]

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .atomic import digest, discard, write_file
from .folder_lock import alone_in
from .json_values import from_json, to_json
from .leftovers import clean, read_journal

FORMAT_VERSION = 1
"""Version of every file that this module writes; a reader refuses any other."""

_TRIES = 3


def write_bundle(
    folder: Path, stem: str, kind: str, body: Mapping[str, Any], files: Mapping[str, bytes], *, tidy: bool = True
) -> Path:
    """Write `files` and then the JSON that names them with their checksums; the JSON's arrival is the commit.

    A file whose name is taken gets its checksum's first letters in its name, so a bundle that is already there stays
    whole until the new one is; what only the old one named, and what a writer that was killed left, is then removed.
    A file that was not written here is never touched. Writers of one folder wait for each other.

    Args:
        folder: where to write; it must exist.
        stem: name of the JSON file, without ``.json``.
        kind: what the bundle is, such as ``"fit"``; a reader asks for the same.
        body: JSON-able content (see :func:`to_json`).
        files: content by file name.
        tidy: whether to look for what killed writers left. A caller whose names tell that, and who removes it, says no.

    Returns:
        The path of the JSON file.

    Raises:
        CheckpointError: if something cannot be written, or the JSON file is another program's; an earlier bundle is
            then still whole.
    """
    manifest, journal = folder / f"{stem}.json", folder / f".{stem}.saving"
    with alone_in(folder):
        _check_own(manifest)
        known = named_files(manifest) | (read_journal(journal) if tidy else {})
        entries: dict[str, dict[str, str]] = {}
        for name, content in files.items():
            checksum = digest(content)
            entries[name] = {"file": _free_name(folder / name, checksum, known), "sha256": checksum}
        made = {entry["file"]: entry["sha256"] for entry in entries.values()}
        if tidy:
            write_file(journal, json.dumps(known | made).encode())
        for name, content in files.items():
            target = folder / entries[name]["file"]
            if not _holds(target, entries[name]["sha256"]):
                write_file(target, content)
        core = {"format": f"jensen.{kind}", "format_version": FORMAT_VERSION, "files": entries, "body": to_json(body)}
        text = json.dumps({**core, "checksum": digest(_canonical(core))}, indent=1, allow_nan=False)
        write_file(manifest, text.encode())
        if tidy or known:
            others = [path for path in folder.glob("*.json") if path != manifest]
            named = {name for path in others for name in named_files(path)}
            clean(folder, known, kept={manifest.name, *made, *named}, stems=[manifest.name, journal.name, *files])
        if tidy:
            discard(journal)
    return manifest


def read_bundle(manifest: Path, kind: str, required: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The body and the files of a bundle, each checked against its checksum.

    Args:
        manifest: the JSON file.
        kind: what it must be, such as ``"fit"``.
        required: names of files that it must have.

    Raises:
        CheckpointError: if it is missing, truncated, changed by hand, of another version or not such a bundle.
    """
    for _ in range(_TRIES - 1):
        core = _parse_manifest(manifest)
        try:
            return _read(manifest, core, kind, required)
        except CheckpointError:
            if _parse_manifest(manifest) == core:  # else another process has just replaced the bundle
                raise
    return _read(manifest, _parse_manifest(manifest), kind, required)


def _read(
    manifest: Path, parsed: Mapping[str, Any], kind: str, required: Collection[str]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    core = dict(parsed)
    found = core.get("format")
    if found != f"jensen.{kind}":
        raise CheckpointError(f"{manifest} is not a jensen {kind}: its `format` is {found!r:.60}.")
    if core.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{manifest} has format version {core.get('format_version')!r:.60}; this jensen reads version "
            f"{FORMAT_VERSION}. Read it with the jensen that wrote it, or run again into another folder."
        )
    try:
        if core.pop("checksum", None) != digest(_canonical(core)):
            raise CheckpointError(f"{manifest} was changed after it was written: its checksum does not match.")
        body = from_json(core.get("body"))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{manifest} is damaged: {error}. Take another copy, or run again.") from error
    if not isinstance(body, dict):
        raise CheckpointError(f"{manifest} is damaged: its `body` is no object. Take another copy, or run again.")
    files = {}
    for name, (file, checksum) in _entries(manifest, core).items():
        path = manifest.parent / file
        content = _content(path, manifest)
        if digest(content) != checksum:
            raise CheckpointError(f"{path} is truncated or was changed: its checksum is not that in {manifest.name}.")
        files[name] = content
    if missing := [name for name in required if name not in files]:
        raise CheckpointError(f"{manifest} is damaged: it names no {missing[0]}. Take another copy, or run again.")
    return body, files


def _content(path: Path, manifest: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path}, which {manifest.name} names, is no file. Take another copy, or run again.")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}, which {manifest.name} names, cannot be read ({error.strerror}).") from error


def _entries(manifest: Path, core: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The manifest's files: file name and checksum by the name that the bundle knows them by."""
    files = core.get("files")
    entries: dict[str, tuple[str, str]] = {}
    for name, entry in files.items() if isinstance(files, dict) else [("files", files)]:
        file, checksum = (entry.get("file"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if not isinstance(file, str) or not isinstance(checksum, str) or not _plain_name(file):
            raise CheckpointError(f"{manifest} is damaged: its entry `{name!s:.60}` names no file beside it.")
        entries[name] = file, checksum
    return entries


def _plain_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..") and "\0" not in name and "\\" not in name


def named_files(manifest: Path) -> dict[str, str]:
    """Checksums of the files that a manifest names, by file name; none if it cannot be read."""
    try:
        return dict(_entries(manifest, _parse_manifest(manifest)).values())
    except CheckpointError:
        return {}


def _free_name(path: Path, checksum: str, known: Mapping[str, str]) -> str:
    """The name that the content gets: its own if that is free or holds it already, else one with its checksum."""
    free = not path.exists() and not path.is_symlink()
    return path.name if free or (path.name in known and _holds(path, checksum)) else _marked(path, checksum)


def _marked(path: Path, checksum: str) -> str:
    return f"{path.stem}-{checksum[:8]}{path.suffix}"


def _holds(path: Path, checksum: str) -> bool:
    return path.is_file() and digest(path.read_bytes()) == checksum


def _check_own(manifest: Path) -> None:
    """Refuse to replace a JSON file that another program wrote; one that is torn may be replaced."""
    if manifest.is_dir():
        raise CheckpointError(f"Cannot write {manifest}: a folder is in the way. Choose another folder.")
    try:
        content = json.loads(manifest.read_bytes()) if manifest.is_file() else None
    except (ValueError, RecursionError, OSError):
        return
    if content is not None and not (isinstance(content, dict) and str(content.get("format")).startswith("jensen.")):
        raise CheckpointError(f"Cannot write {manifest}: another program's file of that name is there. Choose another.")


def _canonical(core: Mapping[str, Any]) -> bytes:
    return json.dumps(core, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _parse_manifest(manifest: Path) -> dict[str, Any]:
    try:
        if manifest.exists() and not manifest.is_file():
            raise CheckpointError(f"{manifest} is not a file. Is the folder the right one?")
        text = manifest.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{manifest} cannot be read ({error.strerror}). Is the folder the right one?") from error
    try:
        core = json.loads(text.decode(), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{manifest} is truncated or is not a jensen file ({error}).") from error
    if not isinstance(core, dict) or "format" not in core:
        raise CheckpointError(f"{manifest} is JSON, but not a jensen file: it has no `format`.")
    return core


def _refuse_constant(token: str) -> Any:
    raise ValueError(f"{token} is not JSON")


def _finite(token: str) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise ValueError(f"{token} is beyond the numbers")
    return number
