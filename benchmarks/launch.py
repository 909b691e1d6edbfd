"""Start one job in a fresh process: the same cores, one device, its own compile caches."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Launcher"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Launcher:
    """Runs jobs on ``cores`` cores of this machine; compile caches live in ``caches`` and start empty.

    ``others`` collects, a run, the share of those cores' time that processes other than the run's own took: timings
    on a machine that is not quiet are worth little (two OpenMP threads that wait for a lost core slow down tenfold).
    With ``jax_cache``, JAX keeps what it compiles in ``caches`` too; else each of its processes compiles for itself.
    """

    device: str
    cores: int
    caches: Path
    jax_cache: bool = False
    others: list[float] = field(default_factory=list)

    def environment(self, cache: str) -> dict[str, str]:
        """The environment of a job: threads as many as cores, JAX on the device asked for, caches of our own."""
        threads = str(self.cores)
        kept = {
            "JAX_COMPILATION_CACHE_DIR": str(self.caches / cache / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        return (
            os.environ
            | (kept if self.jax_cache else {})
            | {
                "OMP_NUM_THREADS": threads,
                "MKL_NUM_THREADS": threads,
                "JAX_PLATFORMS": self.device,
                "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
                "TORCHINDUCTOR_CACHE_DIR": str(self.caches / cache / "inductor"),
                "TRITON_CACHE_DIR": str(self.caches / cache / "triton"),
            }
        )

    def run(self, command: list[str], cache: str = "shared", timeout: float = 1_800.0) -> tuple[str, float]:
        """Standard output and wall seconds (start to exit) of ``command``; an error carries its last line."""
        chosen = sorted(os.sched_getaffinity(0))[: self.cores] if hasattr(os, "sched_getaffinity") else None
        own, start, busy = _children_seconds(), time.perf_counter(), _busy_seconds(chosen)
        process = subprocess.run(
            command,
            env=self.environment(cache),
            cwd=_HERE,
            capture_output=True,
            text=True,
            timeout=timeout,
            preexec_fn=(lambda: os.sched_setaffinity(0, chosen)) if chosen else None,
            check=False,
        )
        wall = time.perf_counter() - start
        others = _busy_seconds(chosen) - busy - (_children_seconds() - own)
        self.others.append(max(0.0, others) / wall / self.cores)
        if process.returncode:
            lines = process.stderr.strip().splitlines() or [f"exit status {process.returncode}"]
            raise RuntimeError(lines[-1])
        return process.stdout, wall

    def job(self, job: dict[str, Any], cache: str = "shared") -> tuple[dict[str, Any], float]:
        """Result and wall seconds of one job of ``worker.py``; ``{"error": ...}`` says why there is none."""
        command = [sys.executable, str(_HERE / "worker.py"), json.dumps(job | {"device": self.device})]
        try:
            out, wall = self.run(command, cache)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return {"error": str(error)}, float("nan")
        result: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
        return result, wall


def _busy_seconds(cores: list[int] | None) -> float:
    """Seconds for which the cores have been at work since the machine started."""
    every = psutil.cpu_times(percpu=True)
    return sum(sum(every[core]) - every[core].idle - getattr(every[core], "iowait", 0.0) for core in cores or ())


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
