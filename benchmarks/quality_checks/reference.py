"""Every method on targets with known answers: how far its draws are, what it says of itself, and what it costs."""

from __future__ import annotations

import math
import sys
import time
import warnings
from typing import Any

from jensen.datasets import targets
from jensen.inference import (
    NUTS,
    SVI,
    ChEES,
    Laplace,
    Pathfinder,
    compare,
    inference_gap,
    pareto_k,
    simulation_based_calibration,
)

__all__ = ["run"]

_TARGETS = ("linear_gaussian", "logistic_regression", "eight_schools_noncentred", "eight_schools", "mixture")
_SAMPLERS = ("NUTS", "ChEES")
_CALIBRATED = "linear_gaussian"  # where a simulation takes a second, the methods' calibration is examined too
_CLOSE, _RATIO = 0.3, 1.25


def _methods() -> dict[str, Any]:
    guides = {"mean field": "normal", "full covariance": "multivariate_normal", "low rank": "lowrank"}
    guides |= {"IAF": "iaf", "flow": "flow"}
    options: dict[str, Any] = {"progress": False, "device": "cpu"}
    found: dict[str, Any] = {name: SVI(guide=guide, **options) for name, guide in guides.items()}
    found |= {"Laplace": Laplace(**options), "Pathfinder": Pathfinder(draws=1_000, **options)}
    return found | {"NUTS": NUTS(**options), "ChEES": ChEES(**options)}


def run(quick: bool) -> list[dict[str, Any]]:
    """A row for each method and target: jensen's samplers must be close; the others close, or say that they are not."""
    rows = []
    for name in _TARGETS[: 1 if quick else None]:
        target = targets.load(name)
        for label, method in _methods().items():
            row = _row(label, method, target)
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    return rows


def _row(label: str, method: Any, target: Any) -> dict[str, Any]:
    check = f"{target.name}: {label}"
    goal = "means within 0.3 sd, sds 0.8 to 1.25; or said to be unreliable"
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = method.fit(target.model, target.data, seed=0)
    except Exception as error:  # a method that does not suit says so, and that is its answer here
        return {"check": check, "jensen": f"refused: {_first(error)}", "peer": "", "target": goal, "met": True}
    seconds = time.process_time() - started
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare(fit, target, num_samples=20_000)
        low, high = float(found.sd_ratio.min()), float(found.sd_ratio.max())
        shift = float(found.mean_error.abs().max())
        close = shift <= _CLOSE and low >= 1 / _RATIO and high <= _RATIO
        words = [f"means within {shift:.2f} sd, sds {low:.2f} to {high:.2f}", _said(fit)]
        warned = fit.status != "converged"
        if label not in _SAMPLERS:
            k_hat, gap = _scored(fit, target)
            warned |= not k_hat < 0.7 or not fit.info.get("reliability", {}).get("reliable", True)
            words += [f"k-hat {k_hat:.2f}", f"gap {gap}"]
        if target.name == _CALIBRATED:
            words.append(_calibration(method, target))
    words += [f"{fit.info['gradients']:,} gradients"] if "gradients" in fit.info else [f"{fit.info['steps']:,} steps"]
    words.append(f"{seconds:.1f} CPU s")
    return {"check": check, "jensen": "; ".join(words), "peer": "", "target": goal, "met": close or warned}


def _scored(fit: Any, target: Any) -> tuple[float, str]:
    try:
        k_hat = float(pareto_k(fit).value)
    except Exception:  # stored draws have no density
        k_hat = math.nan
    try:
        gap = str(inference_gap(fit).total)
    except Exception as error:
        gap = f"none ({_first(error)})"
    return k_hat, gap


def _calibration(method: Any, target: Any) -> str:
    try:
        found = simulation_based_calibration(target.model, method, target.data, num_simulations=40, seed=1)
    except Exception as error:
        return f"calibration: {_first(error)}"
    return "calibration: " + str(found).splitlines()[0]


def _said(fit: Any) -> str:
    check = fit.info.get("reliability")
    said = "" if check is None or check["reliable"] else ", unreliable"
    return f"{fit.status}{said}"


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:80]
