"""From data in their place to what a model takes: scaling, classes and columns, kept beside the fit for new rows."""

from __future__ import annotations

__all__ = ["Preparation", "prepare"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jensen.datasets import Standardizer
from jensen.inference.errors import CheckpointError, DataError
from jensen.inference.storage.bundle import read_bundle, write_bundle
from jensen.models import LatentVariableModel

from .labels import encode
from .sources import Source

_FILE = "preparation"


@dataclass(frozen=True)
class Preparation:
    """What was done to the data of a fit; ``preparation.json`` in the fit's folder.

    Args:
        model: the model, as it was named on the command line.
        arguments: its constructor's arguments, sizes included, as Python literals.
        data: the name of the data.
        features: names of the columns of the features; empty if they are no table.
        named: whether the file had these names (otherwise they are numbers).
        argument: the argument of the model that the features are.
        columns: ``{argument: column}`` for the others.
        classes: names of the classes, in the order of their codes, by argument.
        scaling: of the features, or None.
    """

    model: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    features: tuple[str, ...] = ()
    named: bool = True
    argument: str = "x"
    columns: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scaling: Standardizer | None = None

    def save(self, folder: Path) -> None:
        """Write it beside the fit that is in ``folder``, as that fit's own."""
        scaling = None if self.scaling is None else [self.scaling.mean.tolist(), self.scaling.scale.tolist()]
        body = {name: getattr(self, name) for name in self.__dataclass_fields__} | {"scaling": scaling}
        write_bundle(folder, _FILE, _FILE, body | {"fit": _digest(folder)}, {})

    @classmethod
    def load(cls, folder: Path) -> Preparation | None:
        """Read what is kept in ``folder``; None if there is none, as for a fit that no command made.

        Raises:
            CheckpointError: it is damaged, or belongs to another fit.
        """
        path = folder / f"{_FILE}.json"
        if not path.exists():
            return None
        body, _ = read_bundle(path, _FILE)
        if body.pop("fit", None) != _digest(folder):
            raise CheckpointError(f"{path} belongs to another fit than the one beside it: run `jensen fit` again.")
        try:
            rows = [torch.tensor(row, dtype=torch.float64) for row in body["scaling"] or ()]
            scaling = Standardizer(*rows) if rows else None
            classes = {argument: tuple(names) for argument, names in body["classes"].items()}
            return cls(**body | {"scaling": scaling, "classes": classes, "features": tuple(body["features"])})
        except (KeyError, ValueError, AttributeError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}.") from error

    def apply(self, source: Source, model: Any) -> dict[str, Tensor]:
        """Return new data by the model's arguments: in the fit's units, with its classes (-1 for a missing label).

        Raises:
            DataError: other columns, other classes, or a missing value where the model knows none.
        """
        arrays = {name: array for name, array in source.arrays.items() if name not in self.classes}
        for argument, names in self.classes.items():
            if (values := source.labels(argument)) is not None:
                missing = ("-1",) if argument in getattr(model, "unlabelled", ()) else ()
                arrays[argument] = encode(values, f"`{argument}`", classes=names, missing=missing).codes
        _check_missing(replace(source, arrays={"x": arrays["x"]} if "x" in arrays else {}), model, self.argument)
        if (x := arrays.get("x")) is not None and source.scaling is not None:
            arrays["x"] = x = source.scaling.inverse(x.double())
        if x is not None and self.scaling is not None:
            if x.shape[1:] != self.scaling.mean.shape:
                expected, got = tuple(self.scaling.mean.shape), tuple(x.shape[1:])
                raise DataError(f"`{source.name}`: expected rows of shape {expected}, as in the fit, got {got}.")
            arrays["x"] = self.scaling(x.double())
        return {self.argument if name == "x" else name: array for name, array in arrays.items()}


def _digest(folder: Path) -> str:
    """The checksum of the parameters (and first datum) of the fit in `folder`, which loading and saving it keeps."""
    try:
        return str(json.loads((folder / "fit.json").read_bytes())["files"]["parameters.safetensors"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"`{folder}` holds no fit: fit.json cannot be read ({error}).") from error


def prepare(
    source: Source, model: LatentVariableModel, text: str, arguments: Mapping[str, Any], standardize: bool
) -> tuple[dict[str, Tensor], Preparation]:
    """Return the batch for a fit, and the record of how it was made.

    Args:
        source: the data, labels encoded.
        model: the model that takes them.
        text: how the model was named.
        arguments: of its constructor.
        standardize: whether to bring the columns of ``x`` to mean 0 and standard deviation 1 (in float64).

    Raises:
        DataError: an argument that the data lack, or a missing value where the model knows none.
    """
    argument = "x" if "x" in model.arguments else next(iter(model.arguments), "x")
    arrays, scaling = dict(source.arrays), source.scaling
    _check_missing(source, model, argument)
    if standardize:
        scaling = _fit_scaling(source, argument in model.nan_allowed)
        arrays["x"] = scaling(arrays["x"].double())
    record = Preparation(
        model=text,
        arguments={name: repr(value) for name, value in arguments.items()},
        data=source.name,
        features=source.features,
        named=source.table is None or source.table.form.names is not None,
        argument=argument,
        columns=source.columns,
        classes={"y": source.classes} if source.classes and "y" in arrays and "y" in model.arguments else {},
        scaling=scaling,
    )
    return _chosen(arrays, source, model, argument), record


def _fit_scaling(source: Source, missing: bool) -> Standardizer:
    x = source.arrays.get("x")
    if x is None or source.scaling is not None:
        reason = "has no `x`" if x is None else "is standardised already"
        raise DataError(f"`--standardize`: expected columns to scale, but `{source.name}` {reason}.")
    try:
        return Standardizer.fit(x.double(), missing=missing)
    except ValueError as error:
        raise DataError(f"`--standardize`: {error}") from None


def _check_missing(source: Source, model: Any, argument: str) -> None:
    """Refuse a missing value that the model has no meaning for, by its place in the file.

    Raises:
        DataError: there is one.
    """
    allowed, unlabelled = getattr(model, "nan_allowed", ()), getattr(model, "unlabelled", ())
    for name, array in source.arrays.items():
        known = argument if name == "x" else name
        gone = array.isnan() if array.is_floating_point() else torch.zeros_like(array, dtype=torch.bool)
        what = "a value"
        if name == "y" and source.classes:
            gone, what = array < 0, "a label"
        if known in allowed or (known in unlabelled and what == "a label") or not bool(gone.any()):
            continue
        row, *columns = gone.nonzero()[0].tolist()
        place = source.place(name, row, columns[0] if columns else 0)
        name = type(model).__name__
        raise DataError(f"{place}: {what} is missing, which {name} does not allow; fill it in, or drop the row.")


def _chosen(arrays: Mapping[str, Tensor], source: Source, model: Any, argument: str) -> dict[str, Tensor]:
    """Return the part of the data that the model takes, under its names for them.

    Raises:
        DataError: it needs something that they lack, or observes nothing of them.
    """
    held = {argument if name == "x" else name: array for name, array in arrays.items()}
    texts = [name for name in source.texts if name not in held]
    known = ", ".join(f"`{name}`" for name in [*held, *texts]) or "nothing"
    for name in model.required:
        if name in texts:
            raise DataError(f"{source.place(name, 0)}: expected numbers, got text, which only labels `y` can be.")
        if name not in held:
            raise DataError(
                f"`{name}` is an argument of the model that the data lack; they have {known}.{_hint([name])}"
            )
    if model.observed and not any(name in held for name in model.observed):
        raise DataError(
            f"The model observes {' or '.join(f'`{name}`' for name in model.observed)}, and the data have {known}."
            f"{_hint(model.observed)}"
        )
    return {name: array for name, array in held.items() if name in model.arguments}


def _hint(names: Sequence[str]) -> str:
    if "y" in names:
        return " Give the column with --target."
    return f" Give the column with --column {names[0]}=NAME." if names[0] != "x" else ""
