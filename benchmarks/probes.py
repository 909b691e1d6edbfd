"""What each pass of the compiler gives, time to a finished fit, resident memory, import time, host reads a step."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from launch import Launcher
from report import table

__all__ = ["ablation", "finish", "host_reads", "import_time", "memory"]

_LABELS = {"jensen": "jensen, empty compile cache", "jensen_warm": "jensen, compile cache of an earlier fit"}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ablation(
    launcher: Launcher, folders: dict[str, Path], compile: str, repeats: int, seconds: float = 0.5, rounds: int = 5
) -> str:
    """Time a step without each pass of `inference/step/compile/`, over the time with all of them."""
    rows, passes = [], []
    for program, folder in folders.items():
        job = {"job": "ablation", "peer": "jensen", "program": program, "folder": str(folder), "compile": compile}
        results = [launcher.job(job | {"seconds": seconds, "rounds": rounds})[0] for _ in range(repeats)]
        good = [result for result in results if "error" not in result]
        if not good:
            rows.append([program, results[0]["error"]])
            continue
        passes = [key for key in good[0] if key]
        ratios = {key: sorted(result[key] / result[""] for result in good) for key in passes}
        _say(f"ablation {program}: {ratios}")
        rows.append([program, f"{median(result[''] for result in good) * 1e6:,.1f}"])
        rows[-1] += [f"{median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})" for values in ratios.values()]
    title = "### What each pass of the compiler gives: time a step without it / with all\n\n"
    return title + table(["program", "all, µs", *passes], rows)


def finish(launcher: Launcher, folder: Path, peers: Iterable[str], repeats: int, steps: int = 2_000) -> str:
    """Wall seconds from process start to exit of a finished fit of the small logistic regression."""
    arms = [peer for peer in peers if peer != "numpyro_step"]
    arms += ["jensen_warm"] if "jensen" in arms else []
    walls: dict[str, list[float]] = {arm: [] for arm in arms}
    notes: dict[str, str] = {}
    for repeat in range(-1, repeats):  # the first round warms the file cache and is dropped
        for arm in arms:
            peer = arm.removesuffix("_warm")
            job = {"job": "finish", "peer": peer, "folder": str(folder), "steps": steps}
            result, wall = launcher.job(job, cache="warm" if arm == "jensen_warm" else f"finish{repeat}")
            if "error" in result:
                notes[arm] = result["error"]
            elif repeat >= 0:
                walls[arm].append(wall)
                notes[arm] = f"w[0] = {result['w'][0]:.2f}"
            _say(f"finish {arm}: {wall:.2f} s")
    rows = [[_LABELS.get(arm, arm), *_against(wall, walls.get("jensen")), notes[arm]] for arm, wall in walls.items()]
    head = ["process", f"seconds to {steps:,} steps", "this / jensen", "result"]
    return "### From process start to a finished fit\n\n" + table(head, rows)


def memory(launcher: Launcher, folder: Path, compile: str, marks: tuple[int, int] = (1_000, 20_000)) -> str:
    """Resident memory of a jensen fit (mini-batch logistic regression) at two steps."""
    job = {"job": "memory", "peer": "jensen", "folder": str(folder), "compile": compile, "marks": marks}
    result, _ = launcher.job(job)
    title = "### Resident memory of one fit\n\n"
    if "error" in result:
        return title + f"No result: {result['error']}\n"
    low, high = (result[str(mark)] / 2**20 for mark in marks)
    rows = [[f"{low:.1f}", f"{high:.1f}", f"{100 * (high / low - 1):+.2f} %", _verdict(abs(high / low - 1) <= 0.02)]]
    head = [*(f"MiB at step {mark:,}" for mark in marks), "change", "target: within 2 %"]
    return title + table(head, rows)


def import_time(launcher: Launcher, repeats: int) -> str:
    """Wall seconds of a process that only imports: pyro against jensen.inference."""
    walls: dict[str, list[float]] = {"pyro": [], "jensen.inference": []}
    notes = dict.fromkeys(walls, "")
    for repeat in range(-1, repeats):
        for name, seconds in walls.items():
            try:
                _, wall = launcher.run([sys.executable, "-c", f"import {name}"])
            except RuntimeError as error:
                notes[name] = str(error)
                continue
            if repeat >= 0:
                seconds.append(wall)
    rows = [[f"`import {name}`", *_against(wall, walls["pyro"]), notes[name]] for name, wall in walls.items()]
    return "### Import time (target: at most 1.15 x pyro)\n\n" + table(["", "seconds", "x pyro", ""], rows)


def host_reads(launcher: Launcher, folders: dict[str, Path], compile: str) -> str:
    """`aten::_local_scalar_dense` calls of a step and of a logging interval, after the first interval."""
    rows = []
    for program, folder in folders.items():
        job = {"job": "host_reads", "peer": "jensen", "program": program, "folder": str(folder), "compile": compile}
        result, _ = launcher.job(job)
        if "error" in result:
            rows.append([program, "-", "-", result["error"]])
            continue
        step, interval = result["reads_per_step"], result["reads_per_interval"]
        rows.append([program, f"{step:g}", f"{interval:g}", _verdict(step <= 0)])
    head = ["program", "reads a step", "reads a logging interval", "target: none a step"]
    return "### Host reads after the first logging interval\n\n" + table(head, rows)


def _against(walls: list[float], base: list[float] | None) -> tuple[str, str]:
    """Median seconds, and their ratio to the median of ``base``."""
    ratio = f"{median(walls) / median(base):.2f}" if walls and base else "-"
    return f"{median(walls):.3f}" if walls else "-", ratio


def _verdict(met: bool) -> str:
    return "met" if met else "missed"
