"""A long run of Pyro's NUTS as the reference for posteriors, and how far draws of a guide are from it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from torch import Tensor

from jensen.models.common.parameter_scope import local_parameters

__all__ = ["compare", "describe", "long_run", "settle"]


def long_run(
    model: Any, data: Mapping[str, Tensor], draws: int, warm_up: int = 300, chains: int = 2
) -> dict[str, Tensor]:
    """Draws ``(chains, draws, …)`` of Pyro's NUTS with a full mass matrix, one chain after another."""
    from pyro.infer import MCMC, NUTS

    found = []
    for chain in range(chains):
        pyro.set_rng_seed(chain)
        with local_parameters(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch.jit, which is on its way out
            kernel = NUTS(model.model, full_mass=True, jit_compile=True, ignore_jit_warnings=True)
            run = MCMC(kernel, draws, warm_up, disable_progbar=True)
            run.run(**data)
            found.append(run.get_samples())
    return {name: torch.stack([one[name] for one in found]) for name in found[0]}


def _flat(draws: Mapping[str, Tensor], dims: int = 1) -> Tensor:
    """All numbers of all sites side by side, after `dims` sample dimensions; entries that never vary are left out."""
    columns = torch.cat([value.reshape(*value.shape[:dims], -1) for _, value in sorted(draws.items())], -1)
    return columns[..., columns.flatten(0, -2).std(0) > 0]


def compare(reference: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> dict[str, float]:
    """The guide's distance from the reference over all numbers.

    Args:
        reference: ``(chains, S, …)``; draws: ``(S, …)``.

    Returns:
        ``mean``: the largest difference of means, in the reference's sds; ``sd_low`` and ``sd_high``: the extreme
        ratios of sds; ``r_hat`` and ``ess``: the worst of the reference.
    """
    import arviz

    long, short = _flat(reference, 2), _flat(draws)
    chains = arviz.convert_to_dataset({"x": long.numpy()})
    pooled = long.flatten(0, 1)
    ratio = short.std(0) / pooled.std(0)
    return {
        "mean": float(((short.mean(0) - pooled.mean(0)) / pooled.std(0)).abs().max()),
        "sd_low": float(ratio.min()),
        "sd_high": float(ratio.max()),
        "r_hat": float(arviz.rhat(chains)["x"].max()),
        "ess": float(arviz.ess(chains)["x"].min()),
    }


def settle(done: float) -> float:
    """A factor on the learning rate that falls to a thousandth, so that the guide's parameters come to rest."""
    return float(1e-3**done)


def describe(task: str, guide: str, found: dict[str, float], draws: int) -> list[dict[str, Any]]:
    """The rows of one guide: two targets for full covariance; for the mean field, how narrow it is."""
    peer = f"NUTS, 2 x {draws:,} draws, R-hat {found['r_hat']:.3f}, ESS {found['ess']:.0f}"
    spread = f"{found['sd_low']:.2f} to {found['sd_high']:.2f}"
    if guide == "normal":
        check = f"{task}, mean-field guide: ratios of sds (under-dispersion is a property of the method)"
        return [{"check": check, "jensen": spread, "peer": peer, "target": "shown", "met": None}]
    name = f"{task}, full-covariance guide"
    return [
        {
            "check": f"{name}: largest difference of a mean, in posterior sds",
            "jensen": f"{found['mean']:.3f}",
            "peer": peer,
            "target": "at most 0.1",
            "met": found["mean"] <= 0.1,
        },
        {
            "check": f"{name}: ratios of sds",
            "jensen": spread,
            "peer": peer,
            "target": "0.9 to 1.1",
            "met": found["sd_low"] >= 0.9 and found["sd_high"] <= 1.1,
        },
    ]
