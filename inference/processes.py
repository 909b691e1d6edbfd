"""Work in processes of its own, several pieces at a time."""

from __future__ import annotations

__all__ = ["in_processes"]

from collections.abc import Callable, Iterator, Sequence
from pickle import PicklingError
from typing import Any, TypeVar

import torch

from .errors import ConfigurationError, JensenError

_Result = TypeVar("_Result")


def in_processes(
    function: Callable[..., _Result], pieces: Sequence[Any], jobs: int, *, piece: str, whole: str
) -> Iterator[tuple[int, _Result]]:
    """Call ``function(piece)`` for `jobs` pieces at a time (all cores if negative); yield index and result of each.

    Each process gets its share of the cores as torch threads. What the pieces hold travels by value where the other
    process could not import it, so that models defined in a script or a notebook work.

    Args:
        piece, whole: what to call one of them, and all, in messages.

    Raises:
        KeyboardInterrupt: Ctrl-C, here or in one of the processes.
        ConfigurationError: what a piece holds cannot be sent to another process.
        JensenError: a process died; what was finished before is kept.
    """
    from joblib import Parallel, cpu_count, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    workers = cpu_count() if jobs < 0 else jobs
    threads = max(1, cpu_count() // workers)
    run = Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered")
    one = "an" if piece[0] in "aeiou" else "a"
    try:
        for index, results in run(delayed(_call)(function, i, given, threads) for i, given in enumerate(pieces)):
            if results is None:
                raise KeyboardInterrupt
            yield index, results[0]
    except PicklingError as error:
        reason = f"`jobs`: {one} {piece} cannot be sent to another process ({error}); use jobs=1."
        raise ConfigurationError(reason) from error
    except TerminatedWorkerError as error:
        reason = f"A process that ran {one} {piece} died, often for want of memory; the finished {piece}s are kept."
        raise JensenError(f"{reason} Run the {whole} again, with fewer `jobs`.") from error


def _call(function: Callable[..., _Result], index: int, piece: Any, threads: int) -> tuple[int, tuple[_Result] | None]:
    torch.set_num_threads(threads)
    try:
        return index, (function(piece),)
    except KeyboardInterrupt:
        return index, None
