r"""Whether a fit has come to rest, from its history: an equivalence test, with its number and what to do.

For a series :math:`s_1, \dots, s_n` (a bound, or a parameter in posterior standard deviations) of the last half of a
run, a line is fitted. Its rise over that half, :math:`R`, is what as many steps more would bring if nothing changed;
its standard error is that of least squares, times :math:`\sqrt{(1 + \rho) / (1 - \rho)}` for residuals of
autocorrelation :math:`\rho`. The series

- has *converged* if :math:`|R| + z \, \mathrm{se}(R)` is below a tolerance: a test that can fail for want of data, so
  that noise is never taken for rest;
- has *not converged* if :math:`|R| - z \, \mathrm{se}(R)` is above it;
- is *unknown* otherwise.

References: Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach for assessing
the equivalence of average bioavailability, https://doi.org/10.1007/BF01068419
Dhaka et al. (2020), Robust, accurate stochastic optimization for variational inference,
https://arxiv.org/abs/2009.00666
"""

from __future__ import annotations

__all__ = ["CONVERGED", "NOT_CONVERGED", "UNKNOWN", "Verdict", "drift", "judge", "too_short", "verdict_of_rows"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONVERGED, NOT_CONVERGED, UNKNOWN = "converged", "not converged", "unknown"

_FEWEST = 10  # points in the half that is looked at
_Z = 2.8  # one in 400, and correlations are not known exactly


@dataclass(frozen=True)
class Verdict:
    """Whether a fit has come to rest.

    Attributes:
        status: ``"converged"``, ``"not converged"`` or ``"unknown"``.
        reason: the test, its number and its tolerance, in words.
        advice: the one thing to do; empty where there is nothing to do.
    """

    status: str
    reason: str
    advice: str = ""


def drift(series: np.ndarray, curved: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rise over the last half of each column of ``(n, P)``, and its standard error, ``(P,)`` each.

    Columns that do not move at all have a rise and an error of zero. Fewer than ten points in the half have an infinite
    error.

    Args:
        series: a row a logging interval.
        curved: whether the residuals are those of a parabola: what bends on its way is then not taken for noise.
    """
    last = np.asarray(series, dtype=float)[len(series) // 2 :]
    count = len(last)
    if count < _FEWEST:
        return np.zeros(last.shape[1]), np.full(last.shape[1], math.inf)
    time = np.arange(count) - (count - 1) / 2
    bend = time**2 - (time**2).mean()
    residual = last - last.mean(0)
    slope = time @ residual / (time @ time)
    residual = residual - np.outer(time, slope)
    if curved:
        residual = residual - np.outer(bend, bend @ residual / (bend @ bend))
    variance = (residual**2).sum(0) / (count - 2 - curved)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (residual[1:] * residual[:-1]).sum(0) / (residual**2).sum(0)
    correlation = np.nan_to_num(correlation)
    correlation = correlation + (1.0 + 4.0 * correlation) / count + 1.0 / math.sqrt(count)  # seen too small, and noisy
    inflation = (1 + correlation.clip(0.0, 0.97)) / (1 - correlation.clip(0.0, 0.97))
    return slope * count, count * np.sqrt(variance * inflation / (time @ time))


def judge(series: np.ndarray, tolerance: float) -> tuple[str, int, float, float]:
    """The status of a fit with the worst of its series, which one that is, its rise and the error of that.

    Args:
        series: ``(n, P)``, a row a logging interval.
        tolerance: what a rise over half of the run may be.
    """
    rise, error = drift(series)
    upper = np.abs(rise) + _Z * error  # all must be small, so that none needs a stricter test for being one of many
    noise = drift(series, curved=True)[1]
    lower = np.abs(rise) - math.sqrt(_Z**2 + 2.0 * math.log(series.shape[1])) * noise  # one of many may be large
    if (lower > tolerance).any():
        worst = int(lower.argmax())
        return NOT_CONVERGED, worst, float(rise[worst]), float(noise[worst])
    worst = int(upper.argmax())
    status = CONVERGED if upper[worst] < tolerance else UNKNOWN
    return status, worst, float(rise[worst]), float(error[worst])


def too_short(rows: int) -> Verdict | None:
    """The verdict on a history of so few rows that nothing can be told, or None."""
    if rows >= 2 * _FEWEST:
        return None
    reason = f"the history has {rows} rows, and the test needs {2 * _FEWEST}"
    return Verdict(UNKNOWN, reason, "Take more steps, or log more often (`log_every`).")


def verdict_of_rows(rows: Sequence[Mapping[str, Any]], data_size: float) -> Verdict:
    """The verdict by the bound of a history (or by the loss, where there is no bound).

    The tolerance is a thousandth of a nat per datum and at least half a nat; of a loss, a thousandth of it.
    """
    name = "bound" if rows and "bound" in rows[-1] else "loss"
    values = [row[name] for row in rows if row.get(name) is not None]
    if (short := too_short(len(values))) is not None:
        return short
    series = np.asarray(values, dtype=float)[:, None]
    tolerance = max(0.5, 1e-3 * data_size) if name == "bound" else 1e-3 * abs(float(series[len(series) // 2 :].mean()))
    status, _, rise, error = judge(series, tolerance)
    unit = " nats" if name == "bound" else ""
    reason = (
        f"over the last half of the run, the {name} moved by {rise:.3g} +- {error:.2g}{unit} "
        f"(tolerance {tolerance:.2g})"
    )
    advice = {CONVERGED: "", NOT_CONVERGED: "Take more steps."}
    return Verdict(status, reason, advice.get(status, "Take more steps, or larger batches: noise hides the rest."))
