"""M2 and M1+M2 on MNIST with few labels: accuracy over several draws of the labels, against published numbers.

`python benchmarks/quality.py --only semi_supervised --labels 600,1000`: some numbers of labels only; `--steps` sets the
updates of each fit (8,000 by default, batches of 100).
"""

from __future__ import annotations

import os
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from jensen.datasets import Dataset, DynamicBinarization, hide_labels, mnist
from jensen.inference import SVI, AuxiliaryELBO, BetaELBO, Linear, TraceMeanField_ELBO
from jensen.models import VAE, LatentFeatures, SemiSupervisedVAE

__all__ = ["repeat_labelled", "run"]

Row = dict[str, Any]

# Accuracy in Pyro's tutorial on the same model, its best column (with the auxiliary loss).
PEER = {100: 0.932, 600: 0.944, 1000: 0.949, 3000: 0.958}


def repeat_labelled(train: dict[str, Tensor], times: int) -> dict[str, Tensor]:
    """The rows with their labelled ones `times` over, so that every mini-batch holds some.

    It weighs the labelled data's bound by `times`; the classifier's term, a mean over the labelled, stays what it is.
    """
    labelled = (train["y"] >= 0).nonzero().squeeze(-1)
    rows = torch.cat([torch.arange(len(train["y"])), labelled.repeat(times - 1)])
    return {name: value[rows] for name, value in train.items()}


def _accuracy(model: SemiSupervisedVAE, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((model.classify(x).argmax(-1) == y).float().mean())


def _times(num_labelled: int) -> int:
    """Repeats that make the labelled rows a third of all."""
    return max(1, 30_000 // num_labelled)


def _labelled(data: Dataset) -> dict[str, Tensor]:
    shown = data.train["y"] >= 0
    return {name: value[shown] for name, value in data.train.items()}


def _m2(data: Dataset, num_labelled: int, steps: int, seed: int) -> float:
    """784-500-50. The labelled rows first, then all, while the weight of the KL falls from 5 to 1.

    With the plain bound the 50 latents explain everything before the class does, and q(y | x), which follows the
    decoder, forgets the labels (1,000 labels, 1,500 steps of 200: accuracy from 0.89 down to 0.88). While latents are
    dear, the class is the cheapest thing to say about a digit.
    """
    bits, plain = DynamicBinarization(), AuxiliaryELBO(weight=0.1)
    start = SVI(plain, steps=min(steps, 400), lr=2e-3, batch_size=50, transform=bits, progress=False)
    first = start.fit(SemiSupervisedVAE(784, 10, 50, hidden=(500,)), _labelled(data), seed=seed).model
    objective = AuxiliaryELBO(BetaELBO(Linear(5.0, 1.0, until=0.4)), weight=0.1)
    method = SVI(objective, steps=steps, lr=2e-3, batch_size=100, transform=bits, progress=False)
    fit = method.fit(first, repeat_labelled(data.train, _times(num_labelled)), seed=seed)
    return _accuracy(fit.model, data.test["x"], data.test["y"])  # type: ignore[index]


def _features(data: Dataset, steps: int) -> LatentFeatures:
    """M1: 784-500-500-50, softplus."""
    m1 = VAE(784, 50, hidden=(500, 500), activation="softplus")
    bits = DynamicBinarization()
    method = SVI(TraceMeanField_ELBO(), steps=steps, lr=1e-3, batch_size=100, transform=bits, progress=False)
    return LatentFeatures(method.fit(m1, data.select("x").train, seed=0).model, data.train["x"])


def _stacked(data: Dataset, features: LatentFeatures, num_labelled: int, steps: int, seed: int) -> float:
    m2 = SemiSupervisedVAE(features.num_features, 10, 5, likelihood="gaussian", hidden=(500,))
    objective = AuxiliaryELBO(weight=0.1)
    start = SVI(objective, steps=min(steps, 300), lr=2e-3, batch_size=50, transform=features, progress=False)
    first = start.fit(m2, _labelled(data), seed=seed).model
    method = SVI(objective, steps=steps, lr=1e-3, batch_size=100, transform=features, progress=False)
    fit = method.fit(first, repeat_labelled(data.train, _times(num_labelled)), seed=seed)
    return _accuracy(fit.model, features.mean(data.test["x"]), data.test["y"])  # type: ignore[index]


def _row(check: str, found: list[float], peer: str, target: float | None, note: str) -> Row:
    spread = f" +- {stdev(found) / len(found) ** 0.5:.3f}" if len(found) > 1 else ""
    return {
        "check": f"{check}, accuracy on 10,000 test images, {len(found)} draws of the labels{note}",
        "jensen": f"{mean(found):.3f}{spread}",
        "peer": peer,
        "target": "-" if target is None else f"above {target:.3f}",
        "met": None if target is None else mean(found) > target,
    }


def run(quick: bool, steps: int | None = None, labels: str | None = None) -> list[Row]:
    """The rows of the table; none where JENSEN_DATA names no folder.

    Args:
        quick: few steps and labels, nothing is judged.
        steps: updates of each fit.
        labels: numbers of labels, comma separated; ``"stacked"`` for M1+M2 at 100.
    """
    if not os.environ.get("JENSEN_DATA"):
        return []
    torch.set_default_dtype(torch.float32)
    whole = mnist()
    steps, draws = steps or (100 if quick else 8_000), 1 if quick else 5
    chosen = (labels or ("100,stacked" if quick else "100,600,1000,3000,stacked")).split(",")
    rows: list[Row] = []
    note = f" ({steps:,} steps)"
    for name in chosen:
        num_labelled = 100 if name == "stacked" else int(name)
        shown = [hide_labels(whole, num_labelled, seed=seed) for seed in range(draws)]
        if name == "stacked":
            features = _features(whole, max(2 * steps, 1_000))
            found = [_stacked(data, features, num_labelled, steps, seed) for seed, data in enumerate(shown)]
            row = _row(f"M1+M2, {features.num_features} features, {num_labelled} labels", found, "M2's row", None, note)
        else:
            found = [_m2(data, num_labelled, steps, seed) for seed, data in enumerate(shown)]
            target = PEER[num_labelled]
            row = _row(f"M2, {num_labelled} labels", found, f"{target}, Pyro", None if quick else target, note)
        print(row["check"], row["jensen"], flush=True)
        rows.append(row)
    return rows
