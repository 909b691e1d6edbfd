"""Posterior collapse: a strong decoder leaves the latent unused under plain training, and uses it with annealing.

The collapsed model has the higher bound on its 1,437 training images, which it memorises, and the lower evidence on
held-out ones; both are in the row.
"""

from __future__ import annotations

from typing import Any

import torch

from jensen.datasets import digits, threshold
from jensen.inference import SVI, BetaELBO, Linear, active_units, elbo_terms, log_evidence
from jensen.models import VAE, AutoregressiveBernoulli

__all__ = ["run"]

Row = dict[str, Any]

SCHEDULES = {"plain": 1.0, "annealed": Linear(0.0, 1.0, until=0.5)}


def train(beta: Any, data: Any, steps: int, seed: int) -> Any:
    """A fit of scikit-learn's digits, 64 binary pixels, each of which sees the latent and all pixels before it."""
    torch.manual_seed(seed)
    model = VAE(64, 8, hidden=(100,), likelihood=AutoregressiveBernoulli((64,), hidden=(256,)))
    method = SVI(BetaELBO(beta), steps=steps, lr=1e-2, batch_size=128, progress=False)
    return method.fit(model, data.train, seed=seed)


def run(quick: bool) -> list[Row]:
    """The rows of the table: active units, KL and held-out evidence of both trainings, over seeds."""
    steps, seeds = 1_500, 1 if quick else 3
    torch.set_default_dtype(torch.float32)
    data = threshold(digits(test_size=0.2, seed=0)).select("x")
    found: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in SCHEDULES}
    for seed in range(seeds):
        for name, beta in SCHEDULES.items():
            fit = train(beta, data, steps, seed)
            units = active_units(fit, data.test, num_particles=64).value
            kl = elbo_terms(fit, data.test, num_particles=8).details["kl"]["z"].per_datum.value
            evidence = log_evidence(fit, data.test, num_particles=500).per_datum
            found[name].append((units, kl, f"bound {fit.history.bound_per_datum.iloc[-1]:.2f}, held-out {evidence}"))
    rows = []
    for name, values in found.items():
        collapsed = name == "plain"
        rows.append(
            {
                "check": f"autoregressive decoder, digits, {name} ({steps} steps, {seeds} seeds): active units of 8",
                "jensen": ", ".join(f"{u:.0f} (KL {kl:.2f}, {evidence})" for u, kl, evidence in values),
                "peer": "-",
                "target": "at most 1, KL below 1 nat" if collapsed else "at least 5, KL above 2 nats",
                "met": all(u <= 1 and kl < 1 for u, kl, _ in values)
                if collapsed
                else all(u >= 5 and kl > 2 for u, kl, _ in values),
            }
        )
    return rows
