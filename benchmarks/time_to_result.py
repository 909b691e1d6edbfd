"""CPU seconds from process start to a finished fit: `python benchmarks/time_to_result.py --help`."""

from __future__ import annotations

import argparse
import resource
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from data import PROGRAMS, prepare
from launch import Launcher
from report import append, heading, table

__all__ = ["main"]

_STEPS = {"blr": (1_000, 5_000, 20_000, 100_000, 400_000), "vae": (300, 1_000, 3_000, 10_000)}
_QUICK = {"blr": (1_000,), "vae": (300,)}
_ARMS = ("jensen", "jensen_prior", "numpyro")
_ROWS = 20_000  # images of the VAE
_TARGET = 1.0

Cell = tuple[str, int, str, str]  # program, steps, arm, "cold" or "warm"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--only", default=",".join(_STEPS), help="programs, comma separated, of " + ", ".join(_STEPS))
    parser.add_argument("--steps", default="", help="numbers of steps, comma separated; the issue's if empty")
    parser.add_argument("--arms", default=",".join(_ARMS), help="comma separated, of " + ", ".join(_ARMS))
    parser.add_argument("--repeats", type=int, default=3, help="processes a cell; the median is quoted")
    parser.add_argument("--cores", type=int, default=2, help="cores given to every process")
    parser.add_argument("--quick", action="store_true", help="one repeat of the shortest fits")
    parser.add_argument("--write", action="store_true", help="append the tables to benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    arguments.only, arguments.arms = arguments.only.split(","), arguments.arms.split(",")
    for name, allowed in (("only", tuple(_STEPS)), ("arms", _ARMS)):
        if unknown := [value for value in getattr(arguments, name) if value not in allowed]:
            parser.error(f"`--{name}`: unknown {', '.join(unknown)}; expected some of {', '.join(allowed)}")
    if arguments.repeats < 1 or arguments.cores < 1:
        parser.error("`--repeats` and `--cores` must be at least 1")
    if arguments.quick:
        arguments.repeats = 1
    return arguments


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _time(launcher: Launcher, folders: dict[str, Path], cells: list[tuple[str, int, str]]) -> dict[Cell, list[Any]]:
    """Every cell twice in a row, with an empty cache and with what that left; peers take turns."""
    found: dict[Cell, list[Any]] = {}
    for program, steps, arm in cells:
        job = {"job": "result", "program": program, "folder": str(folders[program]), "steps": steps, "rows": _ROWS}
        job |= {"peer": "numpyro_scan" if arm == "numpyro" else "jensen"}
        job |= {"start": "prior" if arm == "jensen_prior" else "pathfinder"}
        shutil.rmtree(launcher.caches, ignore_errors=True)
        for state in ("cold", "warm"):
            before = _cpu_seconds()
            result, wall = launcher.job(job)
            result |= {"cpu": _cpu_seconds() - before, "wall": wall}
            found.setdefault((program, steps, arm, state), []).append(result)
            said = result.get("error") or f"{result['cpu']:.1f} s of CPU, {wall:.1f} s, {result.get('compile', '')}"
            print(f"{program} {steps} {arm} {state}: {said}", file=sys.stderr, flush=True)
    return found


def _middle(results: list[Any] | None) -> float | None:
    good = [result["cpu"] for result in results or [] if "error" not in result]
    return median(good) if good else None


def _table(program: str, found: dict[Cell, list[Any]], arms: list[str], state: str) -> str:
    rows = []
    for steps in sorted({key[1] for key in found if key[0] == program}):
        seconds = {arm: _middle(found.get((program, steps, arm, state))) for arm in arms}
        ours, theirs = seconds.get("jensen"), seconds.get("numpyro")
        ratio = ours / theirs if ours and theirs else None
        row = [f"{steps:,}", *("-" if value is None else f"{value:.1f}" for value in seconds.values())]
        met = "-" if ratio is None else "met" if ratio <= _TARGET else "missed"
        last = found.get((program, steps, "jensen", state), [{}])[-1]
        rows.append([*row, "-" if ratio is None else f"{ratio:.2f}", met, str(last.get("compile", "-"))])
    head = ["steps", *(f"{arm}, s" for arm in arms), "jensen / numpyro", f"at most {_TARGET:g}", "jensen ran"]
    return f"### {PROGRAMS[program].title}: {state}\n\n" + table(head, rows)


def main() -> None:
    """Run every cell, print the tables, and write them if asked."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="time_to_result_") as scratch:
        launcher = Launcher("cpu", arguments.cores, Path(scratch) / "caches", jax_cache=True)
        folders = {name: Path(scratch) / name for name in arguments.only}
        cells = []
        for name, folder in folders.items():
            prepare(name, folder)
            wanted = [int(number) for number in arguments.steps.split(",") if number]
            for steps in wanted or (_QUICK if arguments.quick else _STEPS)[name]:
                arms = [arm for arm in arguments.arms if arm != "jensen_prior" or name == "blr"]
                cells += [(name, steps, arm) for arm in arms]
        found: dict[Cell, list[Any]] = {}
        for _ in range(arguments.repeats):
            for key, results in _time(launcher, folders, cells).items():
                found.setdefault(key, []).extend(results)
    command = shlex.join(["python", "benchmarks/time_to_result.py", *sys.argv[1:]])
    versions = {(key[0], key[2]): results for key, results in found.items()}
    about = (
        "CPU seconds (user and system, of the process and its children) from process start to a finished fit, medians. "
        "Cold: empty compile caches. Warm: the same again; for NumPyro with JAX's persistent compilation cache, "
        'which also keeps what compiles fast (by default it keeps nothing). `jensen_prior`: `start="prior"`.\n'
    )
    tables = [_table(name, found, arguments.arms, state) for name in arguments.only for state in ("cold", "warm")]
    section = "\n".join([heading(command, "cpu", arguments.cores, versions, launcher.others), about, *tables])
    print(section)
    if arguments.write:
        append(Path(__file__).parent / "RESULTS.md", section)


if __name__ == "__main__":
    main()
