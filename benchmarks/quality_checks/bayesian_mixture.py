"""The Bayesian Gaussian mixture: guides and CAVI against long NUTS on data whose components stay apart."""

from __future__ import annotations

import time
import warnings
from statistics import median
from typing import Any

import torch
from torch import Tensor

from jensen.inference import CAVI, SVI, Trace_ELBO, align_labels
from jensen.models import BayesianGaussianMixture
from jensen.models.mixtures.bayesian_gaussian_cavi import GaussianMixtureCoordinates

from ._nuts import compare, describe, long_run, settle

__all__ = ["run"]

Row = dict[str, Any]


def _line() -> tuple[Tensor, Tensor]:
    """Two groups in one dimension, and their centres."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(320, 1, generator=generator)
    return torch.cat([x[:200], 0.7 * x[200:] + 6]), torch.tensor([[0.0], [6.0]])


def _plane() -> tuple[Tensor, Tensor]:
    """Three tilted groups in two dimensions, and their centres."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([[0.0, 0.0], [6.0, 1.0], [1.0, 7.0]])
    tilt = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    parts = [
        torch.randn(n, 2, generator=generator) @ tilt.mT + c for n, c in zip((200, 150, 100), centres, strict=True)
    ]
    return torch.cat(parts), centres


def _close(x: Tensor) -> Tensor:
    """The first data with the second group moved in, so that assignments are uncertain."""
    return torch.cat([x[:200], x[200:] - 3])


def _recovery(seeds: int) -> list[Row]:
    """Fits to data from known components: do the posteriors cover them, and are superfluous components dropped?"""
    centres, weights = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]]), torch.tensor([0.5, 0.3, 0.2])
    scores, kept = [], []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        component = torch.multinomial(weights, 2_000, replacement=True, generator=generator)
        x = centres[component] + torch.randn(2_000, 2, generator=generator)
        fit = CAVI(progress=False).fit(BayesianGaussianMixture(3, 2, mean_precision=0.01), x, seed=seed)
        draws = align_labels(fit.posterior(4_000, seed=seed), centres)
        for name, truth in (("means", centres), ("weights", weights)):
            scores.append(((draws[name].mean(0) - truth) / draws[name].std(0)).flatten())
        many = CAVI(steps=2_000, restarts=5, progress=False).fit(BayesianGaussianMixture(10, 2), x, seed=seed)
        kept.append(int((many.guide.concentration > 20).sum()))
    inside = float((torch.cat(scores).abs() < 1.96).double().mean())
    data = f"3 components, N = 2,000, {seeds} seeds"
    return [
        {
            "check": f"CAVI, {data}: share of means and weights within their 95% intervals",
            "jensen": f"{inside:.2f} of {len(torch.cat(scores))}",
            "peer": "truth",
            "target": "0.87 or more",
            "met": inside >= 0.87,
        },
        {
            "check": f"CAVI from 10 components, {data}: components with 1% of the data or more",
            "jensen": f"3 in {kept.count(3)} of {seeds} fits, at most {max(kept)}",
            "peer": "truth: 3",
            "target": "3 in 9 of 10",
            "met": kept.count(3) >= 0.9 * seeds,
        },
    ]


def _sweep(rows: int) -> Row:
    """Milliseconds a sweep, and the difference from scikit-learn after as many from one start."""
    from sklearn.mixture import BayesianGaussianMixture as Peer

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 16, generator=generator)
    x = x + 2 * torch.randn(10, 16, generator=generator)[torch.randint(10, (rows,), generator=generator)]
    share = torch.nn.functional.one_hot(torch.cdist(x, x[:10]).argmin(1), 10).double()

    class Started(Peer):  # type: ignore[misc]
        def _initialize_parameters(self, X: Any, random_state: Any, xp: Any = None) -> None:
            self._initialize(X, share.numpy())

    model = BayesianGaussianMixture(10, 16)
    model.initialize({"x": x}, 0)
    counts = share.sum(0)
    averages = share.mT @ x / counts[:, None]
    residual = x - averages[share.argmax(1)]
    spread = torch.stack([residual[share[:, k] > 0].mT @ residual[share[:, k] > 0] for k in range(10)])
    factor = model.prior().updated(counts, averages, spread)
    guide = GaussianMixtureCoordinates(torch.full((10,), 0.1), model.prior(), counts, factor)
    ours, theirs = [], []
    for _ in range(8):
        begin = time.perf_counter()
        guide.update({"x": x})
        ours.append(time.perf_counter() - begin)
    options = {"weight_concentration_prior_type": "dirichlet_distribution", "reg_covar": 0.0, "tol": 0.0}
    for count in (1, 9, 1, 9, 8):
        peer = Started(n_components=10, max_iter=count, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            begin = time.perf_counter()
            peer.fit(x.numpy())
            theirs.append(time.perf_counter() - begin)
    gap = float((guide.means - torch.as_tensor(peer.means_)).abs().max())
    slow = (theirs[1] + theirs[3] - theirs[0] - theirs[2]) / 16
    return {
        "check": f"CAVI, full, N = {rows:,}, D = 16, C = 10, float64: ms a sweep; largest difference of a mean after 8",
        "jensen": f"{1e3 * median(ours):.0f} ({median(ours) / slow:.2f} of the peer's); {gap:.0e}",
        "peer": f"{1e3 * slow:.0f}, scikit-learn",
        "target": "at most 1e-6",
        "met": gap <= 1e-6,
    }


def run(quick: bool) -> list[Row]:
    """The rows of the table."""
    torch.set_default_dtype(torch.float64)
    (line, ends), (plane, corners) = _line(), _plane()
    rows = _task("1-D, 2 components, N = 320", line, ends, quick)
    rows += _task("2-D, 3 components, N = 450", plane, corners, quick)
    rows += _task("1-D, 2 components that overlap, N = 320", _close(line), ends / 2, quick)
    return [*rows, *_recovery(3 if quick else 10), _sweep(20_000 if quick else 100_000)]


def _task(name: str, x: Tensor, centres: Tensor, quick: bool) -> list[Row]:
    model = BayesianGaussianMixture(len(centres), x.shape[1])
    model.initialize({"x": x}, 0)
    draws = 400 if quick else 3_000
    reference = long_run(model, {"x": x}, draws)
    raw = {site: value.flatten(0, 1) for site, value in reference.items()}
    aligned = {site: value.reshape(2, draws, *value.shape[1:]) for site, value in align_labels(raw, centres).items()}
    rows = []
    for guide in ("multivariate_normal", "normal", "CAVI"):
        if guide == "CAVI":
            fit = CAVI(tolerance=1e-10).fit(model, x, seed=0)
        else:
            steps = 3_000 if quick else 6_000
            method = SVI(Trace_ELBO(16), steps=steps, lr=0.02, guide=guide, lr_schedule=settle)
            fit = method.fit(model, x, seed=0)
        found = compare(aligned, align_labels(fit.posterior(20_000, seed=1), centres))
        if guide == "CAVI":
            peer = f"NUTS, 2 x {draws:,} draws, R-hat {found['r_hat']:.3f}, ESS {found['ess']:.0f}"
            text = f"{found['sd_low']:.2f} to {found['sd_high']:.2f}; means within {found['mean']:.2f} sd"
            check = f"{name}, {guide}: ratios of sds"
            rows.append({"check": check, "jensen": text, "peer": peer, "target": "shown", "met": None})
        else:
            rows += describe(name, guide, found, draws)
    return rows
