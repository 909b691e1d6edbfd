"""Medians, ratios and targets of the timings, as Markdown."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from data import PROGRAMS

__all__ = ["append", "heading", "speed_tables", "table"]

Results = dict[tuple[str, str], list[dict[str, Any]]]  # (program, peer) -> one result a repeat

# The largest allowed ratio of jensen's time a step to the peer's; "numpyro" is the faster of its two ways.
_TARGETS: dict[str, dict[str, dict[str, float]]] = {
    "cpu": {
        "blr": {"pyro": 1 / 20, "numpyro_scan": 1.2},
        "blr_big": {"pyro": 1 / 20, "numpyro_scan": 1.2},
        "gmm": {"pyro": 0.35},
        "gmm_big": {"pyro": 0.35},
        "vae": {"pyro": 0.65, "numpyro": 1.0},
        "iwae": {"numpyro": 1.0},
    },
    "cuda": {name: {"numpyro": 1.0} for name in PROGRAMS},
}
_CEILINGS = {"cuda": {"iwae": 120e-6}}  # seconds a step
_INTRODUCTION = """# Speed of one SVI step

Written by `benchmarks/svi_speed.py --write`; newest section last. Every timing is a process of its own on the same
cores, the peers take turns, and the median over the repeats is quoted. All peers get the same data, batch size, Adam
learning rate, starting weights and full float32 products. Warm-up and compilation are left out of the time a step and
have their own column. "Bound" is the mean bound per datum (nats) at the end of the first chunk of steps: it shows that
the peers do the same work. Pyro: `SVI.step` with default settings (`pyro_lean`: validation off). NumPyro: `lax.scan`
over many steps, and one jitted `svi.update` a step; its mixture is a `MixtureSameFamily`, its mini-batches come from
`jax.random.randint` inside the compiled step; Pyro's and jensen's from a permutation an epoch.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def speed_tables(results: Results, device: str, peers: Sequence[str]) -> str:
    """Microseconds a step with the ratios and the targets; then spread, compile time and bound of every timing."""
    others = [peer for peer in peers if peer != "jensen"] if "jensen" in peers else []
    rows, details, errors = [], [], []
    for program in dict.fromkeys(program for program, _ in results):
        times = {peer: _middle(results[program, peer], "seconds_per_step") for peer in peers}
        ratios = {peer: _ratio(times.get("jensen"), times[peer]) for peer in others}
        cells = [_number(times[peer], 1e6) for peer in peers] + [_number(ratios[peer]) for peer in others]
        rows.append([PROGRAMS[program].title, *cells, _verdicts(program, device, times)])
        for peer in peers:
            good = [result for result in results[program, peer] if "error" not in result]
            errors += [f"- {program}, {peer}: {r['error']}" for r in results[program, peer] if "error" in r][:1]
            if good:
                spread = sorted(result["seconds_per_step"] * 1e6 for result in good)
                first = good[0].get("seconds_compile")
                bound = f"{_middle(good, 'bound_per_datum'):.3f}"
                compiling = "-" if first is None else f"{first:.1f}"
                details.append([program, peer, f"{spread[0]:.1f} to {spread[-1]:.1f}", compiling, bound])
    head = ["program", *(f"{peer}, µs" for peer in peers), *(f"jensen / {peer}" for peer in others), "targets"]
    text = "### Time per step\n\n" + table(head, rows)
    text += "\n" + table(["program", "peer", "µs, range", "compile s (empty cache)", "bound"], details)
    return text + ("\nNo result:\n\n" + "\n".join(errors) + "\n" if errors else "")


def heading(command: str, device: str, cores: int, results: Results, others: Sequence[float]) -> str:
    """Date, machine, versions and command of a section."""
    versions: dict[str, str] = {}
    for timings in results.values():
        for timing in timings:
            versions |= timing.get("versions", {})
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    machine = f"{_processor()}, {cores} of {os.cpu_count()} cores" + (f", {_accelerator()}" if device == "cuda" else "")
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    about = [f"- machine: {machine}", f"- Python {platform.python_version()}" + (f", {listed}" if listed else "")]
    about += [f"- command: `{command}`"]
    if others:
        about += [
            f"- taken from these cores by other processes: {median(others):.0%} (median), {max(others):.0%} (most)"
        ]
        if median(others) > 0.05:
            about += ["- **The machine was not quiet: do not quote these timings.**"]
    return f"## {when}, {device}\n\n" + "\n".join(about) + "\n"


def append(path: Path, section: str) -> None:
    """Add a section to the file, which gets its introduction when it is new."""
    before = path.read_text() if path.exists() else _INTRODUCTION
    path.write_text(before.rstrip() + "\n\n" + section.rstrip() + "\n")


def _verdicts(program: str, device: str, times: dict[str, float | None]) -> str:
    jensen, said = times.get("jensen"), []
    numpyro = [time for peer, time in times.items() if peer.startswith("numpyro") and time is not None]
    limits = dict(_TARGETS[device].get(program, {}))
    for peer, limit in limits.items():
        against = min(numpyro, default=None) if peer == "numpyro" else times.get(peer)
        ratio = _ratio(jensen, against)
        if ratio is not None:
            said.append(f"{'met' if ratio <= limit else 'missed'}: {ratio:.3f} of {peer}, at most {limit:g}")
    ceiling = _CEILINGS.get(device, {}).get(program)
    if ceiling and jensen is not None:
        said.append(f"{'met' if jensen <= ceiling else 'missed'}: at most {ceiling * 1e6:.0f} µs")
    return "; ".join(said) or "-"


def _middle(timings: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [timing[key] for timing in timings if key in timing]
    return median(values) if values else None


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _number(value: float | None, scale: float = 1.0) -> str:
    if value is None:
        return "-"
    return f"{value * scale:,.1f}" if scale != 1.0 else f"{value:.3f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or sys.platform


def _accelerator() -> str:
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "an unnamed GPU"
