"""The one piece of advice that fits a fit, by what can be measured of it without another."""

from __future__ import annotations

__all__ = ["advice_of"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..data.uneven_columns import Column, covariates, outstanding_column
from ..diagnostics.label_symmetry import mixed_up, swappable
from ..fit.fit import Fit
from ..guides import NormalGuide
from ..run.convergence import CONVERGED, NOT_CONVERGED, Verdict, drift, too_short
from .options import AUTO
from .reliability import untouched

_LOST = 600.0  # offset over spread: its square times the rounding of float32 is a fiftieth
_TIED = 0.5  # of the variance of log weights, by pairs of latents
_MOST_NUMBERS = 1_000  # of a full covariance
_ROUNDING, _BESIDE = 0.25, 20.0  # of the tolerance; how much larger noise and changes of the bound may be


def advice_of(fit: Fit, verdict: Verdict, columns: Mapping[str, Sequence[Any]]) -> str:
    """What to do about a fit with this verdict, which is what the verdict says unless something else is measured:

    - float64, where the bound's rounding is of the size of its changes, or a column lies so far from zero that
      float32 loses what sets its values apart;
    - labels that can swap, where starts disagree about a model whose density does not tell its components apart, or
      its guide does not hold them apart;
    - a column to scale, where it stands out and the fit does not take its steps in the posterior's own units, or its
      offset ties the latents of a mean-field guide together;
    - another guide, where importance weights say that this one cannot be relied on.

    Nothing but labels is looked at where a fit has converged and can be relied on.

    Args:
        fit: with its `info`, that of the check of its reliability included.
        verdict: of its method.
        columns: names of the data's columns, by argument.
    """
    check = fit.info.get("reliability")
    unreliable = check is not None and not check["reliable"]
    settled = verdict.status == CONVERGED
    if settled and (verdict.advice or not (unreliable or "restart_bounds" in fit.info)):
        return verdict.advice
    try:
        with untouched(fit):
            found = _labels(fit, settled and not unreliable)
            if found or (settled and not unreliable):
                return found or verdict.advice
            return _rounding(fit, verdict) or _columns(fit, check, columns) or _guide(fit, verdict, check)
    except Exception:  # whatever a user's program raises
        return verdict.advice


def _rounding(fit: Fit, verdict: Verdict) -> str:
    if verdict.status == CONVERGED or fit.info.get("dtype") != "float32" or "bound" not in fit.history:
        return ""
    bounds = np.asarray(fit.history["bound"].dropna(), dtype=float)[:, None]
    if too_short(len(bounds)) is not None:
        return ""
    rise = float(drift(bounds)[0][0])
    last = bounds[len(bounds) // 2 :, 0]
    moves = float(np.median(np.abs(np.diff(last))))
    size = abs(float(last[-1])) * torch.finfo(torch.float32).eps
    if size < _ROUNDING * max(0.5, 1e-3 * fit.data_size) or max(abs(rise), moves) > _BESIDE * size:
        return ""
    return (
        f"Fit with dtype=torch.float64: in float32 a bound of {last[-1]:.3g} nats is rounded by about {size:.2g}, "
        f"which is of the size of what it still changes by."
    )


def _labels(fit: Fit, apart_only: bool) -> str:
    if fit.data is None or not fit.structure.enumerated or getattr(fit.guide, "local_latents", None) != ():
        return ""
    bounds = [value for value in fit.info.get("restart_bounds", ()) if value is not None]
    disagree = len(bounds) > 1 and max(bounds) - min(bounds) > max(0.5, 1e-3 * fit.data_size)
    if apart_only and not disagree:
        return ""
    names = swappable(fit)
    if not names:
        return ""
    said = ", ".join(f"`{name}`" for name in names)
    cure = f"give an order to the components of {said}, or start them apart (`start=`)"
    if disagree:
        return (
            f"Look at label symmetry: the starts end up to {max(bounds) - min(bounds):.3g} nats apart, and the "
            f"components can swap their labels; {cure}, or make more starts (`restarts`)."
        )
    if (pair := mixed_up(fit, names)) is None:
        return ""
    return f"Look at label symmetry: components {pair[0]} and {pair[1]} can swap their labels and overlap; {cure}."


def _columns(fit: Fit, check: Any, columns: Mapping[str, Sequence[Any]]) -> str:
    if fit.data is None:
        return ""
    held = covariates(fit.model, fit.data, columns)
    worst = outstanding_column(held)
    if worst is None:
        return ""
    if worst.offset >= _LOST and fit.info.get("dtype") == "float32":
        return (
            f"Fit with dtype=torch.float64, or subtract the mean of {worst.label}: {worst.place}, which float32 does "
            f"not tell apart well."
        )
    if _in_own_units(fit):
        return _scaled(worst) if worst.offset >= 10.0 and _tied(fit, check) else ""
    return _scaled(worst)


def _scaled(column: Column) -> str:
    return f"Scale {column.label}: {column.place} (subtract its mean, divide by its standard deviation)."


def _in_own_units(fit: Fit) -> bool:
    """Whether the steps, if there were any, were made in the posterior's standard deviations."""
    start = fit.info.get("start")
    return not isinstance(start, Mapping) or start.get("kind") in ("pathfinder", "laplace") or "scales" in start


def _tied(fit: Fit, check: Any) -> bool:
    return isinstance(fit.guide, NormalGuide) and check is not None and check.get("tied", 0.0) > _TIED


def _guide(fit: Fit, verdict: Verdict, check: Any) -> str:
    guide: Any = fit.guide
    if check is None or check["reliable"]:
        return verdict.advice
    if _tied(fit, check):
        one, other = check["tied_pair"]
        numbers = sum(value.numel() for name, value in guide.named_parameters() if name.startswith("loc_"))
        better = "multivariate_normal" if numbers <= _MOST_NUMBERS else "lowrank"
        return (
            f'Take guide="{better}": the posterior ties latents together (`{one}` and `{other}` most), which the '
            f"independent normals of this guide cannot follow."
        )
    ran_out = fit.config.get("steps") == AUTO
    if (verdict.status == NOT_CONVERGED and not ran_out) or too_short(len(fit.history)) is not None:
        return verdict.advice
    if fit.method == "SVI" and fit.config.get("guide") not in ("flow", "iaf"):
        return (
            'Take guide="flow": the posterior has a shape that this guide does not have; or draw from it by `NUTS()`.'
        )
    return "Draw from the posterior by `NUTS()`: it has a shape that this guide does not have."
