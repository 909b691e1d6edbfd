"""Check the models against closed forms and independent peers: `python benchmarks/quality.py --help`."""

from __future__ import annotations

import argparse
import datetime
import importlib
import inspect
import os
import platform
import shlex
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["main"]

_FOLDER = Path(__file__).resolve().parent
_COLUMNS = ("check", "jensen", "peer", "target", "met")


def _checks() -> list[str]:
    return sorted(path.stem for path in (_FOLDER / "quality_checks").glob("*.py") if path.stem[0] != "_")


def _versions() -> str:
    names = ("torch", "pyro-ppl", "scikit-learn", "numpyro", "hmmlearn", "lda")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    for row in rows:
        met = {True: "yes", False: "**no**"}.get(row["met"], "-")
        cells = [str(row.get(name, "")).replace("|", "/") for name in _COLUMNS[:-1]]
        lines.append(f"| {' | '.join([*cells, met])} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    names = _checks()
    parser.add_argument("--only", default=",".join(names), help="comma separated, of " + ", ".join(names))
    parser.add_argument("--quick", action="store_true", help="smaller versions of the long ones")
    parser.add_argument("--full", action="store_true", help="the published budgets, where a check has one (on a GPU)")
    parser.add_argument("--steps", type=int, default=None, help="updates of each fit, where a check takes a budget")
    parser.add_argument("--labels", help="numbers of labels of semi_supervised, comma separated")
    parser.add_argument("--write", action="store_true", help="append the tables to benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := [name for name in chosen if name not in names]:
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(names)}")
    sys.path.insert(0, str(_FOLDER))
    text = [
        f"## {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, quality\n",
        f"- machine: {platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, {_versions()}",
        f"- command: `python {shlex.join(['benchmarks/quality.py', *sys.argv[1:]])}`",
    ]
    missed = 0
    for name in chosen:
        start = time.perf_counter()
        run = importlib.import_module(f"quality_checks.{name}").run
        budget = {"full": arguments.full, "steps": arguments.steps, "labels": arguments.labels}
        rows = run(arguments.quick, **{key: budget[key] for key in budget if key in inspect.signature(run).parameters})
        missed += sum(row["met"] is False for row in rows)
        text += [f"\n### {name} ({time.perf_counter() - start:.0f} s)\n", _table(rows)]
        print("\n".join(text[-2:]), flush=True)
    if arguments.write:
        with (_FOLDER / "RESULTS.md").open("a") as file:
            file.write("\n" + "\n".join(text) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
