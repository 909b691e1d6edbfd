"""Time one SVI step of jensen, Pyro and NumPyro side by side: `python benchmarks/svi_speed.py --help`."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import probes
from data import PROGRAMS, prepare
from launch import Launcher
from report import Results, append, heading, speed_tables

__all__ = ["main"]

_PEERS = ("jensen", "pyro", "numpyro_scan", "numpyro_step")
_PARTS = ("ablation", "finish", "memory", "import_time", "host_reads")


def _names(allowed: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in allowed]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; expected some of {', '.join(allowed)}")
        return names

    return parse


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--programs", type=_names(tuple(PROGRAMS)), default=list(PROGRAMS), help="comma separated")
    parser.add_argument("--peers", type=_names((*_PEERS, "pyro_lean")), default=list(_PEERS), help="comma separated")
    parser.add_argument("--repeats", type=int, default=5, help="processes a (program, peer); the median is quoted")
    parser.add_argument("--seconds", type=float, default=2.0, help="least duration of one timing, without warm-up")
    parser.add_argument("--cores", type=int, default=2, help="cores given to every process")
    parser.add_argument("--compile", default=None, help="jensen's `compile`; c on cpu, cudagraph on cuda")
    parser.add_argument("--quick", action="store_true", help="one repeat of 0.3 s")
    parser.add_argument("--write", action="store_true", help="append the tables to benchmarks/RESULTS.md")
    for part in _PARTS:
        parser.add_argument(f"--{part.replace('_', '-')}", action="store_true", help="run this part, not the table")
    parser.add_argument("--all", action="store_true", help="the table and every other part")
    arguments = parser.parse_args()
    if arguments.repeats < 1 or arguments.cores < 1:
        parser.error("`--repeats` and `--cores` must be at least 1")
    arguments.compile = arguments.compile or {"cpu": "c", "cuda": "cudagraph"}[arguments.device]
    if arguments.quick:
        arguments.repeats, arguments.seconds = 1, 0.3
    return arguments


def _speed(arguments: argparse.Namespace, launcher: Launcher, folders: dict[str, Path]) -> Results:
    """Every (program, peer) timed ``repeats`` times, the peers taking turns."""
    results: Results = {(program, peer): [] for program in arguments.programs for peer in arguments.peers}
    for repeat in range(arguments.repeats):
        for program, peer in results:
            job = {"job": "steps", "program": program, "peer": peer, "folder": str(folders[program])}
            result, wall = launcher.job(job | {"seconds": arguments.seconds, "compile": arguments.compile})
            results[program, peer].append(result)
            said = result.get("error") or f"{result['seconds_per_step'] * 1e6:,.1f} µs a step"
            turn = f"{repeat + 1}/{arguments.repeats} {program} {peer}"
            print(f"{turn}: {said} ({wall:.0f} s)", file=sys.stderr, flush=True)
    return results


def main() -> None:
    """Run the parts asked for (the table of times a step by default), print them, and write them if asked."""
    arguments = _arguments()
    chosen = [part for part in _PARTS if arguments.all or getattr(arguments, part)]
    with tempfile.TemporaryDirectory(prefix="svi_speed_") as scratch:
        launcher = Launcher(arguments.device, arguments.cores, Path(scratch) / "caches")
        folders = {name: Path(scratch) / name for name in {*arguments.programs, "blr", "blr_big"}}
        for name, folder in folders.items():
            prepare(name, folder)
        results: Results = {}
        sections = []
        if arguments.all or not chosen:
            results = _speed(arguments, launcher, folders)
            sections.append(speed_tables(results, arguments.device, arguments.peers))
        if "ablation" in chosen:
            wanted = {name: folders[name] for name in arguments.programs}
            sections.append(probes.ablation(launcher, wanted, arguments.compile, min(arguments.repeats, 3)))
        if "finish" in chosen:
            sections.append(probes.finish(launcher, folders["blr"], arguments.peers, arguments.repeats))
        if "memory" in chosen:
            sections.append(probes.memory(launcher, folders["blr_big"], arguments.compile))
        if "import_time" in chosen:
            sections.append(probes.import_time(launcher, arguments.repeats))
        if "host_reads" in chosen:
            wanted = {name: folders[name] for name in arguments.programs}
            sections.append(probes.host_reads(launcher, wanted, arguments.compile))
    command = shlex.join(["python", "benchmarks/svi_speed.py", *sys.argv[1:]])
    section = "\n".join([heading(command, arguments.device, arguments.cores, results, launcher.others), *sections])
    print(section)
    if arguments.write:
        append(Path(__file__).parent / "RESULTS.md", section)


if __name__ == "__main__":
    main()
