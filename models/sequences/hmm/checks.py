"""Whether sequences are what a hidden Markov model can mean."""

from __future__ import annotations

__all__ = ["check_enough", "check_sequences", "check_sizes"]

from torch import Tensor

from ...common.validation import check_positive
from .padding import sequence_mask


def check_sizes(num_states: int, num_features: int | None, num_categories: int | None, num_steps: int) -> None:
    """Raise unless the constructor's sizes are positive, and say what one kind of emission is."""
    if (num_features is None) == (num_categories is None):
        raise ValueError(
            "Give one of `num_features` (Gaussian emissions) and `num_categories` (codes), got "
            f"{num_features} and {num_categories}."
        )
    check_positive("num_states", num_states)
    if num_features is not None:
        check_positive("num_features", num_features)
    if num_categories is not None:
        check_positive("num_categories", num_categories)
    check_positive("num_steps", num_steps)


def check_sequences(
    x: Tensor | None, lengths: Tensor | None, num_features: int | None, num_categories: int | None
) -> None:
    """Raise a `ValueError` that names the argument, what was expected, what came, and what to do."""
    if lengths is not None:
        _check_lengths(lengths, x)
    if x is None:
        return
    if num_features is not None and (x.dim() != 3 or x.shape[-1] != num_features):
        raise ValueError(
            f"`x` must have shape (N, T, {num_features}): sequences, steps, features of the model; got "
            f"{tuple(x.shape)}. One sequence is `x[None]`; one feature is `x[..., None]`."
        )
    if num_categories is not None and x.dim() != 2:
        raise ValueError(
            f"`x` must have shape (N, T): sequences, steps of codes; got {tuple(x.shape)}. One sequence is `x[None]`."
        )
    if x.shape[1] == 0:
        raise ValueError(f"`x` must have one or more steps, got shape {tuple(x.shape)}. Pad empty sequences to one.")
    inside = None
    if lengths is not None:
        inside = sequence_mask(lengths, x.shape[1])
    missing = x.isnan() if x.dim() == 2 else x.isnan().any(-1)
    _refuse(missing, inside, "`x` must be finite up to each sequence's length, got NaN")
    if num_categories is not None:
        known = (x >= 0) & (x < num_categories) & (x == x.round())
        cure = "Recode them from 0, or build the model with more `num_categories`."
        _refuse(~known, inside, f"`x` must hold codes 0, ..., {num_categories - 1}, got {{value:g}}", x, cure)


def check_enough(lengths: Tensor, num_states: int) -> None:
    """Raise unless a state can start at a step of its own."""
    if (steps := int(lengths.sum())) < num_states:
        raise ValueError(
            f"`num_states` = {num_states} needs at least as many steps of data, got {steps} in all. Ask for fewer."
        )


def _check_lengths(lengths: Tensor, x: Tensor | None) -> None:
    if lengths.dim() != 1 or (x is not None and len(lengths) != len(x)):
        expected = "N" if x is None else len(x)
        raise ValueError(f"`lengths` must have shape ({expected},), one a sequence, got {tuple(lengths.shape)}.")
    if lengths.is_floating_point() and bool((lengths != lengths.round()).any()):
        raise ValueError("`lengths` must be whole numbers of steps. Pass integers.")
    most = None if x is None or x.dim() < 2 else x.shape[1]
    bad = lengths < 0
    if most is not None:
        bad = bad | (lengths > most)
    if bad.any():
        row = int(bad.nonzero()[0, 0])
        upto = "0 or more" if most is None else f"0, ..., {most} (the second dimension of `x`)"
        raise ValueError(
            f"`lengths` must be {upto}, got {int(lengths[row])} for sequence {row}. Count its steps, and pad `x` to "
            "the longest."
        )


_CURE = "Correct it, or end the sequence before it by `lengths`."


def _refuse(bad: Tensor, inside: Tensor | None, message: str, x: Tensor | None = None, cure: str = _CURE) -> None:
    """Raise if anything inside a sequence is bad, and say where."""
    if inside is not None:
        bad = bad & inside
    if bad.any():
        row, step = bad.nonzero()[0].tolist()
        value = float("nan") if x is None else x[row, step].item()
        raise ValueError(f"{message.format(value=value)} in sequence {row}, step {step}. {cure}")
