"""VAE, IWAE and flow posteriors on MNIST by the IWAE paper's protocol, at a stated number of updates.

`python benchmarks/quality.py --only vae_mnist --steps 100000`; the paper's whole budget, 9.84 million updates of every
row of its table, on a GPU: `python benchmarks/quality.py --only vae_mnist --full` (a run that was stopped goes on from
its checkpoints in runs/vae_mnist).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from jensen.datasets import DynamicBinarization, binarize, mnist
from jensen.inference import IWAE, SVI, Trace_ELBO, active_units, iwae_schedule, log_evidence
from jensen.models import VAE, HierarchicalVAE

__all__ = ["run"]

Row = dict[str, Any]
FULL = 9_840_000  # 3280 epochs of 3,000 batches of 20


@dataclass(frozen=True)
class Arm:
    """A model, an objective, and the paper's negative log likelihood."""

    build: Callable[[], Any]
    objective: Any
    paper: float | None = None
    only_full: bool = False


def _one(posterior: str | None = None) -> Callable[[], Any]:
    return lambda: VAE(784, 50, hidden=(200, 200), posterior=posterior)


def _two() -> Any:
    return HierarchicalVAE(784, (100, 50), hidden=(200, 200), upper_hidden=(100, 100))


ARMS = {
    "VAE": Arm(_one(), Trace_ELBO(), 86.76),
    "IWAE-5": Arm(_one(), IWAE(5), 85.54),
    "IWAE-50": Arm(_one(), IWAE(50), 84.78),
    "VAE, planar": Arm(_one("planar"), Trace_ELBO()),
    "VAE, IAF": Arm(_one("iaf"), Trace_ELBO()),
    "VAE, spline": Arm(_one("spline"), Trace_ELBO()),
    "VAE, 5 draws": Arm(_one(), Trace_ELBO(5), 86.47, only_full=True),
    "VAE, 50 draws": Arm(_one(), Trace_ELBO(50), 86.35, only_full=True),
    "two layers, VAE": Arm(_two, Trace_ELBO(), 85.33, only_full=True),
    "two layers, VAE, 5 draws": Arm(_two, Trace_ELBO(5), 85.01, only_full=True),
    "two layers, VAE, 50 draws": Arm(_two, Trace_ELBO(50), 84.78, only_full=True),
    "two layers, IWAE-5": Arm(_two, IWAE(5), 83.89, only_full=True),
    "two layers, IWAE-50": Arm(_two, IWAE(50), 82.90, only_full=True),
}
# (better, worse): what the paper's table and the literature on flows say
ORDER = [
    ("IWAE-5", "VAE"),
    ("IWAE-50", "IWAE-5"),
    ("VAE, planar", "VAE"),
    ("VAE, IAF", "VAE"),
    ("VAE, spline", "VAE"),
]


def run(quick: bool, full: bool = False, steps: int | None = None) -> list[Row]:
    """The rows of the table.

    Args:
        quick: a few steps on a few images, to see that everything runs.
        full: the paper's budget, all rows of its table, all 10,000 test images.
        steps: updates of each arm (batches of 20); 100,000 by default.
    """
    torch.set_default_dtype(torch.float32)
    steps = steps or (FULL if full else 40 if quick else 100_000)
    images, particles = (10_000, 5_000) if full else (20, 50) if quick else (500, 5_000)
    data = mnist(limit=500 if quick else None).select("x")
    # The test images are binarised once, by a seed; the training images afresh at every presentation.
    test = {"x": binarize(data, seed=0).test["x"][:images]}
    arms = {name: arm for name, arm in ARMS.items() if full or not arm.only_full}
    rows: list[Row] = []
    scores: dict[str, torch.Tensor] = {}
    active: dict[str, int] = {}
    for name, arm in arms.items():
        torch.manual_seed(0)
        method = SVI(
            arm.objective,
            steps=steps,
            lr=1e-3,
            batch_size=20,
            optimizer_options={"eps": 1e-4},
            lr_schedule=iwae_schedule,
            transform=DynamicBinarization(),
            log_every=max(1, steps // 100),
            progress=False,
        )
        start = time.perf_counter()
        fit = method.fit(arm.build(), data.train, seed=0, checkpoint=f"runs/vae_mnist/{name}" if full else None)
        seconds = time.perf_counter() - start
        scored = log_evidence(fit, test, seed=1, num_particles=particles)
        scores[name] = scored.details["per_datum"]
        units = active_units(fit, test, num_particles=64)
        active[name] = sum(units.details["count"].values())
        value = scored.per_datum
        spread = scores[name].std().item() / len(scores[name]) ** 0.5
        gap = None if arm.paper is None or not full else abs(-value.value - arm.paper)
        row = {
            "check": f"{name}: negative log evidence, {steps:,} updates, {images:,} images, K = {particles:,}",
            "jensen": f"{-value.value:.2f} ± {value.stderr:.3f} (draws) ± {spread:.2f} (images); "
            f"active units {_units(units)}; {1e3 * seconds / steps:.2f} ms an update",
            "peer": "-" if arm.paper is None else f"{arm.paper} (Burda et al., {FULL:,} updates)",
            "target": "within 0.4 of the paper's" if gap is not None else "-",
            "met": None if gap is None else gap <= 0.4,
        }
        print(row["check"], row["jensen"], flush=True)
        rows.append(row)
    rows += [_better(scores, *pair, decided=not quick) for pair in ORDER]
    return rows + [_more_active(active, *pair, decided=not quick) for pair in ORDER if pair[0].startswith("IWAE")]


def _units(units: Any) -> str:
    """The active units, lower layer first."""
    return " + ".join(str(count) for _, count in sorted(units.details["count"].items()))


def _more_active(active: dict[str, int], better: str, worse: str, decided: bool) -> Row:
    """Whether one arm uses more of its latents than the other."""
    return {
        "check": f"active units of {better} and of {worse}",
        "jensen": f"{active[better]}, {active[worse]}",
        "peer": worse,
        "target": "more",
        "met": active[better] > active[worse] if decided else None,
    }


def _better(scores: dict[str, torch.Tensor], better: str, worse: str, decided: bool) -> Row:
    """Whether one arm's evidence exceeds the other's, image by image."""
    gain = scores[better] - scores[worse]
    mean, stderr = gain.mean().item(), gain.std().item() / len(gain) ** 0.5
    return {
        "check": f"{better} above {worse}, nats an image",
        "jensen": f"{mean:+.2f} ± {stderr:.2f}",
        "peer": worse,
        "target": "above 0 by two standard errors of the paired difference",
        "met": mean > 2 * stderr if decided else None,
    }
