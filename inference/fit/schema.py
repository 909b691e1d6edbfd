"""Checks of a stored fit's parts before anything is built from them."""

from __future__ import annotations

__all__ = ["check_body", "check_rows", "read_table"]

import csv
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import CheckpointError
from .constructor_arguments import NUMBER_TYPES

if TYPE_CHECKING:
    import pandas

_MOST_DATA, _MOST_COLUMNS, _INT64 = 2**53, 10_000, 2**63
_TYPES: dict[str, tuple[type, ...]] = {
    "method": (str,),
    "config": (dict,),
    "seed": (int,),
    "data_size": (int,),
    "status": (str,),
    "info": (dict,),
    "model": (dict,),
    "guide": (dict,),
    "dtype": (str, type(None)),
    "training": (list,),
    "model.class": (str,),
    "model.init_arguments": (dict, type(None)),
    "model.reason": (str, type(None)),
    "guide.kind": (str,),
}
_NAMES = {"model": "guide.name", "name": "guide.name", "class": "guide.class", "custom": "guide.class"}
_NUMBERS = ("seconds", "steps_per_second", "seconds_steps", "seconds_compile")


def check_body(body: Any) -> None:
    """Raise a `CheckpointError` that names the first key of a fit's JSON that is absent or holds what it cannot."""
    if not isinstance(body, dict):
        raise _damaged("body", "an object", body)
    for key, kinds in _TYPES.items():
        _expect(_at(body, key), kinds, key)
    if (name := _NAMES.get(body["guide"]["kind"])) is not None:
        _expect(_at(body, name), (str,), name)
    _expect(body.get("fitted", False), (bool,), "fitted")
    if not 0 <= body["data_size"] <= _MOST_DATA:
        raise _damaged("data_size", "a number of data", body["data_size"])
    if not -_INT64 <= body["seed"] < 2 * _INT64:
        raise _damaged("seed", "an integer of 64 bits", body["seed"])
    dtype = body["dtype"]
    if dtype is not None and not getattr(NUMBER_TYPES.get(dtype.removeprefix("torch.")), "is_floating_point", False):
        raise _damaged("dtype", "a floating-point type of torch", dtype)
    if not all(isinstance(name, str) for name in body["training"]):
        raise _damaged("training", "a list of names", body["training"])
    _check_info(body["info"])


def _check_info(info: Mapping[str, Any]) -> None:
    for key in _NUMBERS:
        value = info.get(key)
        _expect(value, (int, float, type(None)), f"info.{key}")
        if value is not None and not math.isfinite(value):
            raise _damaged(f"info.{key}", "a finite number", value)
    for key, least in (("steps", 0), ("chains", 1)):
        value = info.get(key)
        _expect(value, (int, type(None)), f"info.{key}")
        if value is not None and not least <= value < _INT64:
            raise _damaged(f"info.{key}", f"a number from {least} on", value)
    _expect(info.get("versions"), (dict, type(None)), "info.versions")


def check_rows(name: str, tensors: Mapping[str, Tensor], size: int | None = None) -> None:
    """Raise a `CheckpointError` unless the tensors have one first dimension (of `size`, if that is given)."""
    lengths = {key: len(value) if value.ndim else 0 for key, value in sorted(tensors.items())}
    if not lengths or 0 in lengths.values() or len({*lengths.values(), *([size] if size else [])}) > 1:
        expected = "one number of rows" if size is None else f"{size} rows each"
        raise CheckpointError(f"Its {name} should have {expected}, and there are {lengths or 'none'}: it is damaged.")


def read_table(text: str) -> pandas.DataFrame:
    """A CSV file of numbers as a table, floats exactly as they were written (pandas may round the last digit).

    Raises:
        CheckpointError: if it is not rows of numbers, as many as there are names in the first line.
    """
    import pandas

    try:
        header, *rows = csv.reader(io.StringIO(text))
    except (ValueError, csv.Error) as error:
        raise CheckpointError(f"Its history is not a CSV file ({error}): it is damaged.") from error
    if len(header) > _MOST_COLUMNS or len(set(header)) < len(header):
        raise CheckpointError(f"Its history has {len(header)} columns, {len(set(header))} names: it is damaged.")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise CheckpointError(
                f"Its history has {len(header)} columns, but {len(row)} in line {number}: it is damaged."
            )
    columns = {name: _numbers(name, [row[index] for row in rows]) for index, name in enumerate(header)}
    return pandas.DataFrame(columns)


def _numbers(name: str, cells: list[str]) -> list[Any]:
    try:
        whole = [int(cell) for cell in cells]
        if all(-_INT64 <= number < _INT64 for number in whole):
            return whole
    except ValueError:
        pass
    try:
        return [float(cell or "nan") for cell in cells]
    except ValueError as error:
        raise CheckpointError(f"The column `{name}` of its history is not numbers ({error}): it is damaged.") from error


def _at(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for key in path.split("."):
        if key not in value:
            raise CheckpointError(f"Its key `{path}` is missing: it is damaged, or another program wrote it.")
        value = value[key]
    return value


def _expect(value: Any, kinds: tuple[type, ...], key: str) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise _damaged(key, " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds), value)


def _damaged(key: str, expected: str, value: Any) -> CheckpointError:
    return CheckpointError(f"Its key `{key}` should be {expected}, and is {value!r:.60}: it is damaged.")
