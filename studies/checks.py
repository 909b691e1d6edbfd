"""Checks of what a study is made of, before anything is written."""

from __future__ import annotations

__all__ = ["check_method", "check_parts", "check_seeds"]

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from jensen.datasets.dataset import SPLITS
from jensen.inference.errors import ConfigurationError

from .arms.factories import takes


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """Return the seeds as a tuple.

    Raises:
        ConfigurationError: they are not several whole numbers from 0 to 2**63 - 1.
    """
    expected = "`seeds`: expected whole numbers of 0 or more, for example range(5) or [0, 1]"
    if isinstance(seeds, str | bytes | Mapping) or not isinstance(seeds, Iterable):
        hint = f"; for {seeds} seeds write range({seeds})" if isinstance(seeds, int) else ""
        raise ConfigurationError(f"{expected}, got {seeds!r}{hint}.")
    found = []
    for seed in seeds:
        try:
            found.append(operator.index(seed))
        except TypeError:
            raise ConfigurationError(f"{expected}, got {seed!r} among them.") from None
        if isinstance(seed, bool) or not 0 <= found[-1] < 2**63:
            raise ConfigurationError(f"{expected}, got {seed!r} among them.")
    return tuple(found)


def check_method(label: Any, method: Any) -> None:
    """Refuse what cannot fit.

    Raises:
        ConfigurationError: it has no `fit`, or is a class.
    """
    if isinstance(method, type):
        name = method.__name__
        raise ConfigurationError(f"`methods`: `{label}` is the class {name}; expected a method, such as {name}(…).")
    if not callable(getattr(method, "fit", None)):
        kind = type(method).__name__
        raise ConfigurationError(f"`methods`: expected a method such as SVI(…) or EM() at `{label}`, got {kind}.")


def check_parts(name: Any, model: Any, data: Any, metrics: Any, score_on: Any) -> None:
    """Check a study's name, its models, that there are data, its metrics and where they look.

    Raises:
        ConfigurationError: one of them is not what it must be.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"`name`: expected a string, which names the study's folder, got {name!r}.")
    for label, one in model.items() if isinstance(model, Mapping) else [(None, model)]:
        _check_model("`model`:" if label is None else f"`model`: at `{label}`", one)
    if data is None or isinstance(data, str | bytes | int | float):
        raise ConfigurationError(
            f"`data`: expected a dict of tensors, or a data set with its splits, got {data!r}. For a data set that "
            f"jensen ships call its function, for example wine()."
        )
    if score_on not in SPLITS:
        raise ConfigurationError(f"`score_on`: expected one of {', '.join(SPLITS)}, got {score_on!r}.")
    if metrics is None:
        return
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise ConfigurationError(f"`metrics`: expected a list of functions or a dict of them, got {metrics!r}.")
    for metric in metrics.values() if isinstance(metrics, Mapping) else metrics:
        if not callable(metric):
            raise ConfigurationError(f"`metrics`: expected functions metric(fit, data, *, seed), got {metric!r}.")


def _check_model(where: str, model: Any) -> None:
    if isinstance(model, torch.nn.Module):
        return
    if not callable(model):
        raise ConfigurationError(f"{where} expected a model, or a function that makes one, got {model!r}.")
    try:
        parameters = takes(model).values()
    except (TypeError, ValueError):  # a builtin, which does not say
        return
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        name = getattr(model, "__name__", str(model))
        raise ConfigurationError(
            f"{where} expected a model, or a function without arguments that makes one; {name} needs `{needed[0]}`. "
            f"Build it, or pass `lambda: {name}({needed[0]}=…)`."
        )
