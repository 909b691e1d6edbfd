"""One writer at a time in a folder, among processes and threads; a writer that is killed lets go."""

from __future__ import annotations

__all__ = ["alone_in"]

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError

_PAUSE = 0.01


@contextmanager
def alone_in(folder: Path, patience: float = 60.0) -> Iterator[None]:
    """Hold the folder's lock inside; wait for whoever holds it. Leaves nothing in the folder.

    Where the system has no such locks (some network file systems, Windows), nothing is held.

    Args:
        folder: which must exist.
        patience: how long to wait, in seconds.

    Raises:
        CheckpointError: if the lock is not to be had for that long.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # the write itself will say why
        yield
        return
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise CheckpointError(
                        f"Another process has been writing into {folder} for {patience:g} s. Wait for it, or choose "
                        f"another folder."
                    ) from error
                time.sleep(_PAUSE)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(handle)
