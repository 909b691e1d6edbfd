"""Read IDX files (the format of MNIST), plain or gzipped, without writing anything."""

from __future__ import annotations

__all__ = ["find_idx", "read_idx"]

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

UNSIGNED_BYTE = 0x08


def find_idx(folder: Path, stem: str) -> Path | None:
    """The file `stem` or else `stem.gz` in `folder`, or None."""
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def read_idx(path: Path) -> Tensor:
    """The uint8 tensor in an IDX file; a `.gz` is unpacked in memory.

    Layout: two zero bytes, one byte for the element type (8 = unsigned byte), one for the number of dimensions, each
    dimension as a big-endian uint32, then the elements in C order.

    Raises:
        ValueError: the file is truncated, or no IDX file of unsigned bytes.

    Reference: LeCun, Cortes and Burges, "The MNIST database", 1998, http://yann.lecun.com/exdb/mnist/.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got {error}; download the file again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE:
        raise ValueError(f"{path}: expected an IDX file of unsigned bytes, got the first bytes {content[:4]!r}")
    start = 4 + 4 * content[3]
    shape = [int(n) for n in np.frombuffer(content[4:start].ljust(start - 4, b"\0"), dtype=">u4")]
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path}: expected {math.prod(shape):,} bytes for the shape {tuple(shape)}, "
            f"got {max(0, len(content) - start):,}; download the file again"
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())
