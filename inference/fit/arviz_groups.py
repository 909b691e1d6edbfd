"""Values with named axes as the groups of ArviZ's InferenceData."""

from __future__ import annotations

__all__ = ["Labelled", "as_inference_data"]

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

Labelled = tuple[Tensor, list[str | None]]
"""A value and the names of its axes, after the chain's and the draw's if it has those; None for one without a name."""

_DRAWN = ("posterior", "log_likelihood", "sample_stats")


def as_inference_data(groups: Mapping[str, Mapping[str, Labelled]], attributes: Mapping[str, Any]) -> Any:
    """ArviZ's `InferenceData`, or from its release 1.0 the `xarray.DataTree` that has taken its place."""
    import arviz

    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(attrs=dict(attributes), **_as_datasets(groups))
    import xarray

    tree = xarray.DataTree.from_dict(_as_datasets(groups))
    tree.attrs.update(attributes)
    return tree


def _as_datasets(groups: Mapping[str, Mapping[str, Labelled]]) -> dict[str, Any]:
    """Each group that is not empty as an `xarray.Dataset`.

    An axis keeps its plate's name where it can: a dimension cannot bear the name of a variable, of a chain or a draw
    (then it is ``"<plate>_plate"``), nor have two sizes in one group (then it has ArviZ's own name).
    """
    import arviz

    leading = "default_dims" if hasattr(arviz, "InferenceData") else "sample_dims"
    taken = {"chain", "draw"}.union(*(set(group) for group in groups.values()))
    found = {}
    for name, group in groups.items():
        if not group:
            continue
        sizes: dict[str, int] = {}
        dims = {}
        for variable, (value, axes) in group.items():
            dims[variable] = (
                [
                    _dimension(axis, size, sizes, taken)
                    for axis, size in zip(axes, value.shape[-len(axes) :], strict=True)
                ]
                if axes
                else []
            )
        drawn = ["chain", "draw"] if name in _DRAWN else []
        arrays = {variable: value.detach().cpu().numpy() for variable, (value, _) in group.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="More chains")  # which is what many short chains are
            found[name] = arviz.dict_to_dataset(arrays, dims=dims, **{leading: drawn})
    return found


def _dimension(axis: str | None, size: int, sizes: dict[str, int], taken: set[str]) -> str | None:
    if axis is None:
        return None
    name = f"{axis}_plate" if axis in taken else axis
    return name if sizes.setdefault(name, size) == size else None
