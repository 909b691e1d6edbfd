"""Class labels of any kind (1 and 2, -1 and 1, names) as codes 0, 1, …, and the names of the classes to go back."""

from __future__ import annotations

__all__ = ["Labels", "encode", "label_name"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from jensen.inference.errors import DataError, nearest_or_all

_MOST_CLASSES = 50


@dataclass(frozen=True)
class Labels:
    """Labels ``(N,)`` as int64 codes of ``classes``; -1 where a label is missing."""

    codes: torch.Tensor
    classes: tuple[str, ...]

    @property
    def recoded(self) -> bool:
        """Whether the codes are others than the labels themselves."""
        return self.classes != tuple(str(code) for code in range(len(self.classes)))


def label_name(value: float | str | bool | None) -> str | None:
    """Return the name of one label, the same for 1, 1.0 and "1"; None for a missing one.

    >>> label_name(1.0), label_name(" yes "), label_name(0.5), label_name(float("nan"))
    ('1', 'yes', '0.5', None)
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        try:
            number = float(text)
        except ValueError:
            return text or None
        return text if math.isnan(number) else label_name(number)
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return None if math.isnan(value) else f"{value:.0f}" if value.is_integer() else repr(value)


def encode(
    values: Sequence[float | str | bool | None],
    name: str,
    *,
    classes: Sequence[str] = (),
    number: int | None = None,
    missing: Sequence[str] = (),
) -> Labels:
    """Return labels as codes.

    Args:
        values: one a row; None or NaN where there is none.
        name: what they are called in messages, such as ``"`y`"``.
        classes: the classes in the order of their codes, where they are known; otherwise those that occur: in the order
            of the numbers, or of the alphabet.
        number: how many classes the model has by what was set or by its default: numbers below it are codes already.
        missing: labels that stand for a missing one too.

    Raises:
        DataError: a label that is not among ``classes``, no label at all, or what look like no labels.
    """
    found = [label_name(value) for value in values]
    found = [None if label in missing else label for label in found]
    present = set(filter(None, found))
    if not present:
        raise DataError(f"{name}: expected class labels, got none.")
    if not classes:
        codes = {str(code) for code in range(number or 0)}
        classes = sorted(codes, key=int) if present <= codes else _in_order(present)
        if len(classes) > _MOST_CLASSES and len(classes) > len(found) / 10:
            raise DataError(
                f"{name}: expected class labels, got {len(classes)} different values such as `{classes[0]}` and "
                f"`{classes[1]}`. Is it the right --target?"
            )
    code = {label: place for place, label in enumerate(classes)}
    unknown = next((row for row, label in enumerate(found) if label is not None and label not in code), None)
    if unknown is not None:
        label = found[unknown]
        hint = nearest_or_all(label, classes)
        raise DataError(f"{name}: the label `{label}` in row {unknown} is none of the classes.{hint}")
    return Labels(torch.tensor([-1 if label is None else code[label] for label in found]), tuple(classes))


def _in_order(labels: set[str]) -> list[str]:
    try:
        return sorted(labels, key=float)
    except ValueError:
        return sorted(labels)
