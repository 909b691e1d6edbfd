"""Arms in processes of their own, several at a time."""

from __future__ import annotations

__all__ = ["run_in_processes"]

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from jensen.inference.processes import in_processes

from .arms.arm import Arm, ArmRecord


def run_in_processes(arms: Sequence[Arm], root: Path, jobs: int) -> Iterator[tuple[Arm, ArmRecord]]:
    """Run ``jobs`` arms at a time (all cores if negative) and yield each with its record as it ends.

    Raises:
        KeyboardInterrupt, ConfigurationError, JensenError: as in :func:`jensen.inference.processes.in_processes`.
    """
    arms = tuple(arms)
    for index, record in in_processes(functools.partial(_run_one, root), arms, jobs, piece="arm", whole="study"):
        yield arms[index], record


def _run_one(root: Path, arm: Arm) -> ArmRecord:
    return arm.run(root)
