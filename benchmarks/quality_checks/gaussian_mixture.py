"""The Gaussian mixture's EM against scikit-learn: likelihood, time an iteration, memory, and recovery."""

from __future__ import annotations

import resource
import time
import warnings
from statistics import median
from typing import Any

import numpy as np
import torch

from jensen.inference import EM
from jensen.models import GaussianMixture

__all__ = ["run"]

Row = dict[str, Any]


def _large(rows: int, features: int = 16, components: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    means = 2 * torch.randn(components, features, generator=generator, dtype=torch.float64)
    component = torch.randint(components, (rows,), generator=generator)
    return means[component] + torch.randn(rows, features, generator=generator, dtype=torch.float64)


def _time(covariance: str, x: torch.Tensor, iterations: int = 8) -> tuple[float, float, float]:
    """Seconds an iteration of jensen and of scikit-learn from one start, medians, and the gap in likelihood."""
    from sklearn.mixture import GaussianMixture as Peer

    torch.set_default_dtype(torch.float64)
    model = GaussianMixture(10, x.shape[1], covariance, min_scale=1e-6)
    model.initialize({"x": x}, 0)
    tril = covariance in ("full", "tied")
    precision = torch.cholesky_inverse(model.scale_tril) if tril else model.scale.pow(-2)
    start = {
        "weights_init": model.weights.detach().numpy(),
        "means_init": model.means.detach().numpy().copy(),
        "precisions_init": precision.detach().numpy(),
    }
    kind = {"diagonal": "diag"}.get(covariance, covariance)
    ours, theirs = [], []
    with torch.no_grad():
        statistics, _ = model.e_step({"x": x})
        for _ in range(iterations):
            begin = time.perf_counter()
            model.m_step(statistics)
            statistics, likelihood = model.e_step({"x": x})
            ours.append(time.perf_counter() - begin)
    rows = x.numpy()
    for count in (1, 1 + iterations) * 3:
        peer = Peer(10, covariance_type=kind, reg_covar=0.0, tol=0.0, max_iter=count, **start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            begin = time.perf_counter()
            peer.fit(rows)
            theirs.append(time.perf_counter() - begin)
    short, long = median(theirs[::2]), median(theirs[1::2])
    peer = Peer(10, covariance_type=kind, reg_covar=0.0, tol=0.0, max_iter=iterations, **start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gap = abs(float(likelihood) / len(x) - peer.fit(rows).score(rows))
    return median(ours), (long - short) / iterations, gap


def _recovery(seeds: int) -> Row:
    torch.set_default_dtype(torch.float64)
    errors, rises = [], []
    for seed in range(seeds):
        truth = GaussianMixture(3, 2)
        generator = torch.Generator().manual_seed(seed)
        corners = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
        truth.means.data.copy_(corners + torch.randn(3, 2, generator=generator))
        x = truth.generate(5_000, seed=seed)["x"]
        fit = EM(restarts=3, progress=False).fit(GaussianMixture(3, 2), x, seed=seed)
        distance = torch.cdist(truth.means.detach(), fit.model.means.detach())
        errors.append(float(distance.min(1).values.max()))
        rises.append(float(fit.history.bound_per_datum.iloc[-1] - truth.log_evidence({"x": x}).mean().detach()))
    found = f"largest error of a mean {max(errors):.3f}; likelihood above the truth's by {min(rises):.4f} or more"
    met = max(errors) < 0.12 and min(rises) >= 0
    return {
        "check": f"recovery, 3 components, N = 5,000, {seeds} seeds",
        "jensen": found,
        "peer": "truth",
        "target": "0.12 (5 standard errors); at least the truth's",
        "met": met,
    }


def run(quick: bool) -> list[Row]:
    """The rows of the table."""
    size = 20_000 if quick else 100_000
    x = _large(size)
    rows = []
    for covariance in ("full", "tied", "diagonal", "spherical"):
        ours, theirs, gap = _time(covariance, x)
        name = f"EM, {covariance}, N = {size:,}, D = 16, C = 10, float64"
        ratio = ours / theirs
        rows.append(
            {
                "check": f"{name}: ms an iteration",
                "jensen": f"{1e3 * ours:.0f} ({ratio:.2f} of the peer's)",
                "peer": f"{1e3 * theirs:.0f}, scikit-learn",
                "target": "at most 0.5" if covariance == "full" else "-",
                "met": ratio <= 0.5 if covariance == "full" else None,
            }
        )
        rows.append(
            {
                "check": f"{name}: log likelihood per datum after 8 iterations, difference",
                "jensen": f"{gap:.1e}",
                "peer": "scikit-learn",
                "target": "at most 1e-6",
                "met": gap <= 1e-6,
            }
        )
    rows.append(_memory())
    rows.append(_recovery(3 if quick else 10))
    return rows


def _memory() -> Row:
    """Growth of the peak resident memory in one E step of 400,000 rows, beside the data."""
    torch.set_default_dtype(torch.float64)
    x = _large(400_000)
    model = GaussianMixture(10, 16)
    with torch.no_grad():
        model.e_step({"x": x[:1000]})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        model.e_step({"x": x})
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    limit = 400_000 * 10 * 8
    return {
        "check": "memory of an E step, N = 400,000: growth of the peak, MiB",
        "jensen": f"{grown / 2**20:.0f}",
        "peer": f"N C numbers: {limit / 2**20:.0f}; N C D: {16 * limit / 2**20:.0f}",
        "target": "at most N C",
        "met": bool(np.less_equal(grown, limit)),
    }
