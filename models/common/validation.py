"""Checks of the data a model is given: each names the argument, what was expected and what came."""

from __future__ import annotations

__all__ = [
    "check_choice",
    "check_count",
    "check_features",
    "check_labels",
    "check_positive",
    "check_shape",
    "check_size",
    "check_sizes",
    "check_widths",
]

import difflib
import numbers
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def check_positive(name: str, value: Any) -> None:
    """Raise unless the constructor's argument is a positive number."""
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError):
        found = f"{value!r} of type {type(value).__name__}"
        raise TypeError(f"`{name}` must be a positive number, got {found}. Pass one number.") from None
    if isinstance(value, str):
        raise TypeError(f"`{name}` must be a positive number, got the text {value!r}. Pass it without quotes.")
    if not value > 0:
        raise ValueError(f"`{name}` must be positive, got {value!r}.")


def check_size(name: str, value: Any) -> None:
    """Raise unless the constructor's argument is a whole number, at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        check_positive(name, value)
        raise TypeError(f"`{name}` must be a whole number, at least 1, got {value!r}. Pass an int.") from None
    check_positive(name, number)


def check_choice(name: str, value: object, options: Iterable[str]) -> None:
    """Raise unless the constructor's argument is one of `options`; name the nearest."""
    options = list(options)
    if value not in options:
        near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`{name}` must be one of {options}, got {value!r}.{hint}")


def check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless every datum (row) of `value` has this shape."""
    if tuple(value.shape[1:]) != shape:
        expected = ", ".join(["N", *map(str, shape)])
        raise ValueError(f"`{name}` must have shape ({expected}), got {tuple(value.shape)}.")


def check_widths(name: str, value: object) -> None:
    """Raise unless the constructor's argument is a sequence of sizes, of which there may be none."""
    if not isinstance(value, Iterable):
        raise ValueError(
            f"`{name}` must be a sequence of sizes, one for each layer, got {value!r}. Write ({value!r},)."
        )


def check_sizes(**sizes: Any) -> None:
    """`check_size` of several arguments, and of each entry of those that are sequences, which `…hidden` must be."""
    *first, last = sizes
    names = f"{', '.join(first)} and {last}"
    for name, value in sizes.items():
        if "hidden" in name:
            check_widths(name, value)
        for size in value if isinstance(value, list | tuple) or "hidden" in name else (value,):
            check_size(names, size)


def check_count(name: str, value: object, what: str) -> None:
    """Raise unless the argument is a whole positive number; `what` says of what."""
    if not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{name}` must be a positive whole number of {what}, got {value!r}.")


def check_features(name: str, value: Tensor, num_features: int, argument: str = "num_features") -> None:
    """Raise unless `value` is a matrix with this many columns, which the constructor calls `argument`."""
    if value.ndim == 2 and value.shape[1] == num_features:
        return
    cure = "Reshape it: a row a datum, a column a feature."
    if value.ndim == 2:
        cure = f"Build the model with {argument}={value.shape[1]} or select the columns."
    raise ValueError(
        f"`{name}` must have shape (N, {num_features}), one column per feature of the model, got {tuple(value.shape)}. "
        f"{cure}"
    )


def check_labels(name: str, value: Tensor, num_classes: int = 2, missing: bool = False) -> None:
    """Raise unless `value` is a vector of class labels 0, ..., num_classes - 1; say what it holds, and what to do.

    Args:
        num_classes: the model's argument of that name.
        missing: whether -1 may stand for a label that is not known.
    """
    if value.ndim != 1:
        cure = ""
        if value.ndim == 2 and value.shape[1] > 1:
            cure = f" Of one-hot rows, pass `{name}.argmax(1)`."
        elif value.ndim == 2:
            cure = f" Pass `{name}[:, 0]`."
        raise ValueError(f"`{name}` must be a vector of labels of shape (N,), got shape {tuple(value.shape)}.{cure}")
    known = value == value.round()  # false of NaN
    bad = value[~(known & (value >= (-1 if missing else 0)) & (value < num_classes))]
    if not len(bad):
        return
    expected = "{0, 1}" if num_classes == 2 else f"0, ..., {num_classes - 1}"
    if missing:
        expected += ", or -1 where the label is missing"
    levels = torch.unique(value[~value.isnan()])
    shown = ", ".join(f"{level:g}" for level in levels[:6].tolist()) + (", ..." if len(levels) > 6 else "")
    found = f"{bad[0].item():g}" if len(levels) < 2 else f"{bad[0].item():g} (the labels are {shown})"
    cure = _recode(name, value, levels, num_classes)
    raise ValueError(f"`{name}` must hold labels in {expected}, got {found}. {cure}")


def _recode(name: str, value: Tensor, levels: Tensor, num_classes: int) -> str:
    """What to do about labels outside of 0, ..., num_classes - 1, whose values are `levels`, in order."""
    if bool(value.isnan().any()):
        return "Leave out the rows without a label, or see `SemiSupervisedVAE`, which knows missing ones."
    lowest, highest = levels[0].item(), levels[-1].item()
    whole = bool((levels == levels.round()).all())
    if whole and lowest == 1 and highest <= num_classes:
        return f"Count the classes from 0: pass `{name} - 1`."
    if whole and levels.tolist() == [-1.0, 1.0] and num_classes == 2:
        return f"Recode the labels: pass `({name} + 1) / 2`."
    if whole and lowest in (0, 1) and highest >= num_classes and highest < 1_000:
        classes = int(highest) + (lowest == 0)
        shift = f", and pass `{name} - 1`" if lowest == 1 else ""
        return f"Build the model with num_classes={classes}{shift}."
    if len(levels) == num_classes:
        return f"Recode the labels: `torch.unique({name}, return_inverse=True)[1]` counts them from 0."
    return f"Recode the labels, or build the model with another `num_classes` than {num_classes}."
