"""Arms in processes of their own, several at a time."""

from __future__ import annotations

__all__ = ["run_in_processes"]

from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import PicklingError

import torch

from jensen.inference.errors import ConfigurationError, JensenError

from .arms.arm import Arm, ArmRecord


def run_in_processes(arms: Sequence[Arm], root: Path, jobs: int) -> Iterator[tuple[Arm, ArmRecord]]:
    """Run ``jobs`` arms at a time (all cores if negative) and yield each with its record as it ends.

    Each process gets its share of the cores as torch threads. What the arms hold travels by value where the other
    process could not import it, so that models defined in a script or a notebook work.

    Raises:
        KeyboardInterrupt: Ctrl-C, here or in one of the processes.
        ConfigurationError: what an arm holds cannot be sent to another process.
        JensenError: a process died; what was finished before is kept.
    """
    from joblib import Parallel, cpu_count, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    arms = tuple(arms)
    workers = cpu_count() if jobs < 0 else jobs
    threads = max(1, cpu_count() // workers)
    run = Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered")
    try:
        for index, record in run(delayed(_run_one)(index, arm, root, threads) for index, arm in enumerate(arms)):
            if record is None:
                raise KeyboardInterrupt
            yield arms[index], record
    except PicklingError as error:
        raise ConfigurationError(f"`jobs`: an arm cannot be sent to another process ({error}); use jobs=1.") from error
    except TerminatedWorkerError as error:
        reason = "A process that ran an arm died, often for want of memory; the finished arms are kept."
        raise JensenError(f"{reason} Run the study again, with fewer `jobs`.") from error


def _run_one(index: int, arm: Arm, root: Path, threads: int) -> tuple[int, ArmRecord | None]:
    torch.set_num_threads(threads)
    try:
        return index, arm.run(root)
    except KeyboardInterrupt:
        return index, None
