"""The benchmark programs: their sizes, their data and their starting weights, the same for every peer.

NumPy only, so that no peer's process is loaded with another peer's library.
"""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

__all__ = ["PROGRAMS", "Arrays", "ProgramSpec", "load", "prepare"]

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class ProgramSpec:
    """One program: what is fitted, with which settings, and how many steps make one timed chunk.

    ``chunk`` maps a device to the steps of one timed chunk; the bound is compared after the first chunk.
    ``batch_size`` is ``None`` for a full batch.
    """

    title: str
    lr: float
    chunk: dict[str, int]
    batch_size: int | None = None
    widths: tuple[int, ...] = ()  # input, hidden ..., latent
    activation: str = "softplus"
    num_particles: int = 1


PROGRAMS: dict[str, ProgramSpec] = {
    "blr": ProgramSpec("logistic regression, 569 x 30", 1e-2, {"cpu": 1_000, "cuda": 1_000}),
    "blr_big": ProgramSpec("logistic regression, 100k x 100, batch 256", 1e-2, {"cpu": 500, "cuda": 1_000}, 256),
    "gmm": ProgramSpec("Gaussian mixture, 1000 x 2, C=5", 1e-2, {"cpu": 200, "cuda": 1_000}),
    "gmm_big": ProgramSpec("Gaussian mixture, 100k x 16, C=5", 1e-2, {"cpu": 10, "cuda": 200}),
    "vae": ProgramSpec("VAE 784-400-20, batch 128", 1e-3, {"cpu": 100, "cuda": 1_000}, 128, (784, 400, 20)),
    "iwae": ProgramSpec(
        "IWAE-50 784-200-200-50, batch 20", 1e-3, {"cpu": 100, "cuda": 1_000}, 20, (784, 200, 200, 50), "tanh", 50
    ),
}


def prepare(name: str, folder: Path) -> None:
    """Write the data and the starting weights of program `name` to ``folder`` as ``data.npz`` and ``init.npz``."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    data, init = _BUILDERS[name](rng)
    np.savez(folder / "data.npz", **data)
    np.savez(folder / "init.npz", **init)


def load(folder: Path) -> tuple[Arrays, Arrays]:
    """Read what :func:`prepare` wrote; every array comes back as float32."""
    parts = []
    for part in ("data.npz", "init.npz"):
        with np.load(folder / part) as stored:
            parts.append({key: stored[key].astype(np.float32) for key in stored.files})
    return parts[0], parts[1]


def _breast_cancer(rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    return {"x": ((x - x.mean(0)) / x.std(0)).astype(np.float32), "y": y.astype(np.float32)}, {}


def _synthetic_regression(rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    x = rng.standard_normal((100_000, 100), dtype=np.float32)
    logits = x @ (0.3 * rng.standard_normal(100))
    return {"x": x, "y": (rng.random(len(x)) < 1 / (1 + np.exp(-logits))).astype(np.float32)}, {}


def _mixture(rng: np.random.Generator, size: int, features: int, components: int = 5) -> tuple[Arrays, Arrays]:
    centres = 4 * rng.standard_normal((components, features))
    z = rng.integers(components, size=size)
    x = (centres[z] + rng.standard_normal((size, features))).astype(np.float32)
    return {"x": x}, {"means": x[rng.choice(size, components, replace=False)]}


def _images(rng: np.random.Generator, widths: tuple[int, ...]) -> tuple[Arrays, Arrays]:
    """Binary images and the weights of an encoder (two heads) and a decoder; uniform(-1/sqrt(in), 1/sqrt(in))."""
    hidden, latent = widths[:-1], widths[-1]
    layers = {f"encoder{i}": pair for i, pair in enumerate(pairwise(hidden))}
    layers |= {"loc": (hidden[-1], latent), "log_scale": (hidden[-1], latent)}
    backwards = widths[::-1]
    layers |= {f"decoder{i}": pair for i, pair in enumerate(pairwise(backwards))}
    init: Arrays = {}
    for name, (fan_in, fan_out) in layers.items():
        limit = fan_in**-0.5
        init[f"{name}.weight"] = rng.uniform(-limit, limit, (fan_out, fan_in)).astype(np.float32)
        init[f"{name}.bias"] = rng.uniform(-limit, limit, fan_out).astype(np.float32)
    return {"x": _binary_images(rng)}, init


def _binary_images(rng: np.random.Generator) -> np.ndarray:
    """60,000 x 784 zeros and ones: MNIST under ``JENSEN_DATA`` thresholded at 1/2, or a synthetic look-alike."""
    if root := os.environ.get("JENSEN_DATA"):
        for path in sorted(Path(root).rglob("train-images*idx3-ubyte*")):
            if "fashion" in str(path).lower():
                continue
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            return (np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784) > 127).astype(np.uint8)
    z = rng.standard_normal((60_000, 10), dtype=np.float32)
    logits = z @ rng.standard_normal((10, 784), dtype=np.float32) - 3.0
    return (rng.random(logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))).astype(np.uint8)


_BUILDERS = {
    "blr": _breast_cancer,
    "blr_big": _synthetic_regression,
    "gmm": lambda rng: _mixture(rng, 1_000, 2),
    "gmm_big": lambda rng: _mixture(rng, 100_000, 16),
    "vae": lambda rng: _images(rng, PROGRAMS["vae"].widths),
    "iwae": lambda rng: _images(rng, PROGRAMS["iwae"].widths),
}
