"""Posteriors with known answers, each a Pyro program with its data and moments: what a method can be measured by."""

from __future__ import annotations

__all__ = ["PROBABILITIES", "TARGETS", "Moments", "Target", "load"]

import difflib
from collections.abc import Callable

import torch

from .ar1 import ar1_target
from .banana import banana_target
from .correlated_gaussian import correlated_gaussian_target
from .eight_schools import eight_schools_target
from .eight_schools_noncentred import eight_schools_noncentred_target
from .funnel import funnel_target
from .linear_gaussian import linear_gaussian_target
from .logistic_regression import logistic_regression_target
from .mixture import mixture_target
from .moments import PROBABILITIES, Moments
from .target import Target

TARGETS: dict[str, Callable[[], Target]] = {
    "correlated_gaussian": correlated_gaussian_target,
    "linear_gaussian": linear_gaussian_target,
    "logistic_regression": logistic_regression_target,
    "mixture": mixture_target,
    "eight_schools_noncentred": eight_schools_noncentred_target,
    "ar1": ar1_target,
    "banana": banana_target,
    "eight_schools": eight_schools_target,
    "funnel": funnel_target,
}
"""The targets by name, from what any method finds to what few do."""


def load(name: str, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Target:
    """The target called `name`.

    Args:
        name: one of `TARGETS`.
        device: of the data.
        dtype: of the data; default `torch.get_default_dtype()`. The moments are float64.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> from jensen.datasets import targets
        >>> target = targets.load("linear_gaussian")
        >>> target.reference["w"].mean.shape, round(target.log_evidence, 2)
        (torch.Size([5]), -77.44)
    """
    if name not in TARGETS:
        near = difflib.get_close_matches(str(name), TARGETS, n=1, cutoff=0.4)
        hint = f" Did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"`name`: expected one of {list(TARGETS)}, got {name!r}.{hint}")
    return TARGETS[name]().to(device, dtype or torch.get_default_dtype())
