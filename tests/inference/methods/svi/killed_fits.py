"""Program run by `test_killed.py`: kill fits with SIGKILL at random moments, resume them, compare bit by bit.

Usage: killed_fits.py FOLDER KILLS SEED. Each fit runs in a fork of this process, which has imported everything already
and does no arithmetic of its own. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas  # noqa: F401  (here and below: what a fit imports late, so that forks need not)
import safetensors.torch  # noqa: F401
import torch
import torch._dynamo

from jensen.inference import SVI, BetaELBO, Linear, Trace_ELBO, iwae_schedule
from jensen.inference.storage.atomic import fingerprint
from jensen.models import VAE, BayesianLogisticRegression

COMMON = {"compile": "trace", "device": "cpu", "dtype": torch.float64, "progress": False}


def full_batch(folder: Path, callbacks: Any = ()) -> Any:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 3, generator=generator)
    y = (x.sum(-1) > 0).double()
    svi = SVI(Trace_ELBO(2), steps=360, lr=0.02, log_every=4, checkpoint_every=8, **COMMON)
    return svi.fit(BayesianLogisticRegression(3), {"x": x, "y": y}, seed=5, checkpoint=folder, callbacks=callbacks)


def mini_batches(folder: Path, callbacks: Any = ()) -> Any:
    generator = torch.Generator().manual_seed(2)
    x = torch.bernoulli(torch.full((50, 6), 0.4), generator=generator)
    svi = SVI(
        BetaELBO(Linear(0.0, 1.0)),
        steps=240,
        lr=0.01,
        batch_size=16,
        lr_schedule=iwae_schedule,
        clip_norm=5.0,
        average=0.95,
        patience=1000,
        validate_every=12,
        validation_draws=2,
        log_every=6,
        checkpoint_every=12,
        **COMMON,
    )
    model, held_out = VAE(6, 2, hidden=(4,)), {"x": x[:20]}
    return svi.fit(model, {"x": x}, seed=5, validation=held_out, checkpoint=folder, callbacks=callbacks)


def forked(work: Callable[[], None]) -> int:
    """Start `work` in a child that shows nothing; its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def run(fit: Callable[[Path], Any], folder: Path) -> dict[str, Any]:
    """Let the fit go to its end; what it made, and how long it took."""
    out = folder.with_suffix(".json")

    def work() -> None:
        start = time.perf_counter()
        rows = []
        made = fit(folder, [lambda progress: rows.append(time.perf_counter() - start)])
        found = {
            "parameters": fingerprint({name: value.detach() for name, value in made.program.named_parameters()}),
            "history": made.history.drop(columns="seconds").to_csv(index=False),
            "status": made.status,
            "first_row": rows[0] if rows else 0.0,
            "seconds": time.perf_counter() - start,
        }
        out.write_text(json.dumps(found))

    _, status = os.waitpid(forked(work), 0)
    if status:
        raise SystemExit(f"a fit in {folder} failed")
    return json.loads(out.read_text())


def kill(fit: Callable[[Path], Any], folder: Path, delay: float) -> bool:
    """Start the fit and kill it after `delay` seconds; whether it was still running."""
    child = forked(lambda: fit(folder))
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main(root: Path, kills: int, seed: int) -> dict[str, Any]:
    moments = random.Random(seed)
    report: dict[str, Any] = {"killed": 0, "resumed_from": [], "different": []}
    for fit in (full_batch, mini_batches):
        whole = run(fit, root / f"{fit.__name__}-whole")
        killed = attempt = 0
        while killed < kills // 2 and attempt < 3 * kills:
            attempt += 1
            folder = root / f"{fit.__name__}-{attempt}"
            early, late = 0.8 * whole["first_row"], whole["seconds"]
            if not kill(fit, folder, moments.uniform(early, late)):
                continue
            killed += 1
            states = sorted(folder.glob("checkpoint-*.json")) if folder.exists() else []
            report["resumed_from"].append(int(states[-1].stem[-12:]) if states else 0)
            again = run(fit, folder)
            for part in ("parameters", "history", "status"):
                if again[part] != whole[part]:
                    report["different"].append([fit.__name__, report["resumed_from"][-1], part])
        report["killed"] += killed
    return report


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
