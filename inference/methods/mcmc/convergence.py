r"""Whether chains have mixed: split R-hat of ranks, and effective sample sizes.

Of M chains that share a start, R-hat takes the draws together: that of single chains says how short they are (about
:math:`\sqrt{1 + 1/\mathrm{ESS}}` of a half of one), however many agree.

References: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Rank-normalization, folding, and localization: an
improved R-hat for assessing convergence of MCMC, https://arxiv.org/abs/1903.08008
Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari and Gelman (2024), Nested R-hat: assessing the convergence of Markov
chain Monte Carlo when running many short chains, https://arxiv.org/abs/2110.13017
"""

from __future__ import annotations

__all__ = ["chains_verdict"]

import math
import warnings
from collections.abc import Mapping

import numpy as np

from ...run.convergence import CONVERGED, NOT_CONVERGED, UNKNOWN, Verdict
from ...tensors import number_names

_R_HAT, _ESS = 1.01, 400.0
_FEWEST = 8  # draws of a chain


def chains_verdict(draws: Mapping[str, np.ndarray], divergences: int, starts: int | None = None) -> Verdict:
    """Converged where the largest R-hat is at most 1.01 and the least effective sample size at least 400.

    Args:
        draws: ``(C, n, ...)`` by latent.
        divergences: among them.
        starts: how many chains began apart, a divisor of C: chain c shares its start with chain c + `starts`; None
            where each has its own.
    """
    chains, count = next(iter(draws.values())).shape[:2]
    if chains < 2 or count < _FEWEST:
        reason = f"{chains} chain(s) of {count:,} draws: R-hat needs two or more chains of {_FEWEST} or more draws"
        return Verdict(UNKNOWN, reason, "Run more chains (`num_chains`) and steps.")
    r_hat, where = _worst({name: _joined(value, starts or chains) for name, value in draws.items()}, "rhat")
    bulk, least = _worst(draws, "bulk")
    tail, least_tail = _worst(draws, "tail")
    if tail < bulk:
        bulk, least = tail, least_tail
    reason = (
        f"R-hat at most {r_hat:.3f} (`{where}`, limit {_R_HAT}), effective sample sizes at least {bulk:,.0f} "
        f"(`{least}`, limit {_ESS:.0f}), {divergences:,} divergences"
    )
    advice = ""
    if not r_hat <= _R_HAT or not bulk >= _ESS:
        advice = (
            "Take more steps and warm-up; chains that stay apart are in different modes, or in labels that can swap."
        )
    if divergences:
        advice = (
            "Raise `target_acceptance` (0.95, 0.99), or write a hierarchical latent as its mean plus scale times noise."
        )
    status = CONVERGED if r_hat <= _R_HAT and bulk >= _ESS else NOT_CONVERGED
    return Verdict(status, reason, advice)


def _joined(draws: np.ndarray, starts: int) -> np.ndarray:
    """``(starts, M n, ...)`` of ``(C, n, ...)``: the draws of all chains from one start, the first ones first."""
    chains, count = draws.shape[:2]
    apart = draws.reshape(chains // starts, starts, count, *draws.shape[2:])
    return np.moveaxis(apart, 0, 2).reshape(starts, -1, *draws.shape[2:])


def _worst(draws: Mapping[str, np.ndarray], kind: str) -> tuple[float, str]:
    """The worst value over all numbers of all latents, and the name of that number."""
    import arviz

    found: list[tuple[float, str]] = []
    for name, value in draws.items():
        chains, count = value.shape[:2]
        flat = value.reshape(chains, count, -1)
        moving = [i for i in range(flat.shape[-1]) if np.ptp(flat[..., i]) > 0]  # one entry of a Cholesky factor is 1
        if not moving:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of more chains than draws, and of draws that do not vary
            data = arviz.dict_to_dataset({"x": flat[..., moving]})
            if kind == "rhat":
                result = arviz.rhat(data)
            else:
                result = arviz.ess(data, method=kind)
        values = np.asarray(result["x"].values, dtype=float)
        values = np.where(np.isnan(values), math.inf if kind == "rhat" else 0.0, values)
        at = int(values.argmax() if kind == "rhat" else values.argmin())
        found.append((float(values[at]), number_names(name, value.shape[2:])[moving[at]]))
    if not found:
        return (1.0 if kind == "rhat" else math.inf), "none"
    return (max if kind == "rhat" else min)(found, key=lambda pair: pair[0])
