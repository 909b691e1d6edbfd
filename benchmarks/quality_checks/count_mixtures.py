"""Mixtures of counts on purchases of known segments: recovery of segments and profiles, and their number by BIC."""

from __future__ import annotations

import math
from statistics import mean
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from jensen.datasets import purchases
from jensen.inference import EM
from jensen.models import MultinomialMixture, PoissonMixture

__all__ = ["run"]

Row = dict[str, Any]


def _bic(model: Any, x: torch.Tensor) -> float:
    free = model.num_components - 1 + model.num_components * (x.shape[1] - isinstance(model, MultinomialMixture))
    return free * math.log(len(x)) - 2 * float(model.log_evidence({"x": x}).sum())


@torch.no_grad()
def _case(family: Any, spread: float, seed: int) -> tuple[float, float, float, int]:
    """Largest error of a profile in standard errors, adjusted Rand of the fit and of the truth, number by BIC."""
    data = purchases(2_000, volume_spread=spread, seed=seed, dtype=torch.float64)
    x, segment = data.train["x"], data.truth["assignment"]
    fits = {
        number: EM(restarts=5, progress=False).fit(family(number, x.shape[1]), x, seed=seed).model
        for number in (4, 5, 6)
    }
    number = min(fits, key=lambda n: _bic(fits[n], x))
    model, truth = fits[5], family(5, x.shape[1])
    poisson = family is PoissonMixture
    true = data.truth["rates" if poisson else "tastes"]
    found = model.rates if poisson else model.probs
    if poisson:
        truth.rates = true
    else:
        truth.probs = true
    truth.weights = data.truth["weights"]
    order = linear_sum_assignment(torch.cdist(true.sqrt(), found.sqrt()).numpy())[1]
    # of an estimate that is told the segments: Poisson means over rows, shares over items
    rows = torch.stack([(segment == k).sum() for k in range(5)]).unsqueeze(-1)
    items = torch.stack([x[segment == k].sum() for k in range(5)]).unsqueeze(-1)
    error = (true / rows).sqrt() if poisson else (true * (1 - true) / items).sqrt()
    worst = float(((found[order] - true) / error).abs().max())
    rand, best = (adjusted_rand_score(segment, m.predict({"x": x}).argmax(-1)) for m in (model, truth))
    return worst, rand, best, number


def run(quick: bool) -> list[Row]:
    """The rows of the table."""
    torch.set_default_dtype(torch.float64)
    seeds = 3 if quick else 10
    rows = []
    for family, spread in ((PoissonMixture, 0.0), (MultinomialMixture, 0.6)):
        found = [_case(family, spread, seed) for seed in range(seeds)]
        name = f"{family.__name__}, purchases, N = 2,000, 5 segments, volume spread {spread}, {seeds} seeds"
        worst = max(case[0] for case in found)
        rows.append(
            {
                "check": f"{name}: largest error of a profile, in standard errors of known segments",
                "jensen": f"{worst:.2f}",
                "peer": "truth",
                "target": "at most 6 (50 numbers a seed; the segments are not known to the fit)",
                "met": worst <= 6,
            }
        )
        rand, best = (mean(case[k] for case in found) for k in (1, 2))
        lost = [case[2] - case[1] for case in found]
        rows.append(
            {
                "check": f"{name}: adjusted Rand index, mean over seeds",
                "jensen": f"{rand:.3f}; below the true parameters' by {mean(lost):.4f}, at most {max(lost):.3f}",
                "peer": f"{best:.3f}, the true parameters",
                "target": "at most 0.01 below",
                "met": mean(lost) <= 0.01,
            }
        )
        right = sum(case[3] == 5 for case in found)
        rows.append(
            {
                "check": f"{name}: BIC picks 5 of 4, 5, 6",
                "jensen": f"{right} of {seeds}",
                "peer": "truth",
                "target": "all",
                "met": right == seeds,
            }
        )
    return rows
