"""What a model's constructor takes from the data: sizes of their arrays, and how many classes there are."""

from __future__ import annotations

__all__ = ["data_sizes", "with_labels"]

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from jensen.inference.errors import ConfigurationError

from ..arms.factories import takes
from .labels import encode
from .sources import Source


def with_labels(source: Source, factory: Any, settings: Mapping[str, Any], labels: bool | None) -> Source:
    """Return the data with `y` as codes 0, 1, …, where it is the label of a class.

    That is so for text, and for a model that has `num_classes` (unless `num_covariates` is set); ``labels`` overrides.

    Raises:
        DataError: what look like no labels.
        ConfigurationError: more classes than `num_classes` was set to; labels were asked for and there is no `y`.
    """
    values = source.labels("y")
    if values is None or source.classes:
        if labels and values is None:
            raise ConfigurationError(f"`--labels`: expected a column or an array `y` in `{source.name}`, found none.")
        return source
    array = source.arrays.get("y")
    if labels is None:
        labels = array is None or (_has_classes(factory, settings) and array.ndim == 1)
    if not labels:
        if array is None:
            raise ConfigurationError("`--no-labels`: expected numbers in `y`, got text.")
        return source
    number = _number(factory, settings)
    missing = ("-1",) if "y" in getattr(factory, "unlabelled", ()) else ()
    found = encode(values, source.called("y"), number=number, missing=missing)
    most = settings.get("num_classes")
    if isinstance(most, int) and len(found.classes) > most:
        several = ", ".join(found.classes[:10])
        raise ConfigurationError(f"`--set num_classes={most}`: the data have {len(found.classes)} classes ({several}).")
    notes = source.notes
    if found.recoded:
        codes = ", ".join(f"{name} is {code}" for code, name in enumerate(found.classes[:10]))
        notes = (*notes, f"classes of y: {codes}{', …' if len(found.classes) > 10 else ''}")
    texts = {name: column for name, column in source.texts.items() if name != "y"}
    arrays = {**source.arrays, "y": found.codes}
    return replace(source, arrays=arrays, texts=texts, classes=found.classes, notes=notes)


def data_sizes(source: Source, factory: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor's arguments that follow from the data, for those that it has and that are not set.

    ``num_features``, ``num_words`` and ``num_columns`` are the columns of ``x``; ``data_shape`` the shape of a row;
    ``num_classes`` the classes of ``y``. Of sequences ``(N, T, D)`` ``num_features`` is D, of codes ``(N, T)``
    ``num_categories`` the largest and one more.
    """
    parameters = takes(factory)
    sizes: dict[str, Any] = {}
    x = source.arrays.get("x")
    if x is not None:
        shape = tuple(x.shape[1:])
        sequences = "num_states" in parameters
        known = x.nan_to_num(0.0)
        if sequences and {"num_features", "num_categories"} & set(settings):  # one of which a model of sequences has
            pass
        elif sequences and len(shape) == 1 and bool((known == known.round()).all()) and bool((known >= 0).all()):
            sizes["num_categories"] = int(known.max()) + 1
        elif len(shape) == 1 or (sequences and len(shape) == 2):
            sizes["num_features"] = shape[-1]
        if len(shape) == 1:
            sizes |= {"num_words": shape[0], "num_columns": shape[0]}
        sizes["data_shape"] = shape
    if source.classes and not isinstance(settings.get("num_covariates"), int):
        sizes["num_classes"] = max(2, len(source.classes))
    return {name: size for name, size in sizes.items() if name in parameters and name not in settings}


def _has_classes(factory: Any, settings: Mapping[str, Any]) -> bool:
    if isinstance(factory, nn.Module):
        return isinstance(getattr(factory, "num_classes", None), int)
    return "num_classes" in takes(factory) and settings.get("num_covariates") is None


def _number(factory: Any, settings: Mapping[str, Any]) -> int | None:
    """How many classes the model has by what was set, or else by its default."""
    if isinstance(factory, nn.Module):
        number = getattr(factory, "num_classes", None)
    else:
        parameter = takes(factory).get("num_classes")
        number = settings.get("num_classes", inspect.Parameter.empty if parameter is None else parameter.default)
    return number if isinstance(number, int) else None
