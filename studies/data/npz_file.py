"""Arrays from a NumPy file: an `.npz` archive, whose headers are believed only as far as the file is long."""

from __future__ import annotations

__all__ = ["read_npz"]

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy
import torch

from jensen.inference.errors import DataError
from jensen.models.common.inputs import read_numbers

_BROKEN = (ValueError, OSError, EOFError, KeyError, OverflowError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_npz(path: Path) -> dict[str, torch.Tensor]:
    """Return the arrays of an ``.npz`` file by name, as numbers of the types they have there.

    Raises:
        DataError: the file is no such archive, is damaged, or holds what are no numbers; an array does not fit in
            memory, or is said to be longer than the file.
    """
    if path.read_bytes()[:6] == b"\x93NUMPY":
        raise DataError(
            f"`{path}`: expected an .npz file, got a single array (.npy). Name it for the model's argument: "
            f"numpy.savez('{path.stem}.npz', x=array)."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    _check_header(path, member, file)
        with numpy.load(path, allow_pickle=False) as arrays:
            found = {name: _numbers(path, name, arrays[name]) for name in arrays.files}
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"`{path}`: an array is larger than the memory of this machine ({error}).") from None
    except (*_BROKEN, NotImplementedError) as error:
        raise DataError(f"`{path}`: expected an .npz file of numeric arrays: {error}") from None
    if not found:
        raise DataError(f"`{path}`: expected at least one array, got none.")
    return found


def _check_header(path: Path, member: zipfile.ZipInfo, file: Any) -> None:
    """Refuse a header that claims more numbers than its member has bytes for, before any memory is taken."""
    read = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}
    version = numpy.lib.format.read_magic(file)
    if version not in read:  # NumPy's own reader says what it makes of it
        return
    shape, _, dtype = read[version](file)
    size = dtype.itemsize
    for length in shape:
        size *= length
    if not dtype.hasobject and size > member.file_size:
        name = member.filename.removesuffix(".npy")
        raise DataError(
            f"`{path}`: the array `{name}` claims the shape {shape}, {size:,} bytes, and has {member.file_size:,}. The "
            f"file is damaged: write it again."
        )


def _numbers(path: Path, name: str, array: numpy.ndarray[Any, Any]) -> torch.Tensor:
    if array.dtype.kind not in "fiub":
        raise DataError(f"`{path}`: expected numbers in the array `{name}`, got {array.dtype}.")
    try:
        return read_numbers(name, array)
    except ValueError as error:
        raise DataError(f"`{path}`: {error}") from None
