"""Sequences and their mutants as they are written, ``"A23G:L30V"``, made into codes and checked."""

from __future__ import annotations

__all__ = ["codes_of", "letters_of", "mutate"]

import re
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError, ModelError

_MUTATION = re.compile(r"([A-Za-z-])(\d+)([A-Za-z*-])")


def letters_of(fit: Any) -> str:
    """The alphabet of the fit's model, or a `ModelError` if it has none."""
    letters = getattr(fit.model, "letters", None)
    if not isinstance(letters, str):
        raise ModelError(
            f"`{type(fit.model).__name__}` has no `letters`: mutations are scored for models of aligned sequences, "
            "such as `AlignmentVAE`."
        )
    return letters


def codes_of(fit: Any, wild_type: str | Tensor, letters: str) -> Tensor:
    """The sequence as codes ``(D,)``, or a `DataError`."""
    if isinstance(wild_type, str):
        try:
            return fit.model.encode_letters([wild_type])[0].cpu()  # type: ignore[no-any-return]
        except ValueError as error:
            raise DataError(f"`wild_type`: {error}") from error
    row = torch.as_tensor(wild_type).long().cpu()
    if row.ndim != 1 or bool(((row < 0) | (row >= len(letters))).any()):
        raise DataError(
            f"`wild_type` must be one sequence: a string, or codes (D,) below {len(letters)}, got {tuple(row.shape)}."
        )
    return row


def mutate(row: Tensor, text: str, letters: str, column: dict[int, int]) -> Tensor:
    """`row` with the mutations in `text`; `column` is where each position is.

    Raises:
        DataError: a mutation that cannot be read, a position that is no column or is there twice, another letter there.
    """
    mutant = row.clone()
    places = set()
    for part in text.split(":"):
        match = _MUTATION.fullmatch(part.strip())
        if match is None:
            raise DataError(f'`mutations`: expected such as "A23G" or "A23G:L30V", got {text!r}.')
        old, place, new = match[1].upper(), int(match[2]), match[3].upper()
        if place not in column:
            raise DataError(
                f"`mutations`: {text!r} is at position {place}, which is no column of the model; they go by "
                f"{min(column)} to {max(column)}. Pass `positions` if yours have other numbers."
            )
        if place in places:
            raise DataError(f"`mutations`: {text!r} changes position {place} twice. Keep one of the two.")
        places.add(place)
        if new not in letters:
            raise DataError(f"`mutations`: {text!r} puts in {new!r}, which is not in the alphabet {letters!r}.")
        there = letters[int(row[column[place]])]
        if there != old:
            raise DataError(f"`mutations`: {text!r} replaces {old!r}, but the wild type has {there!r} at {place}.")
        mutant[column[place]] = letters.index(new)
    return mutant
