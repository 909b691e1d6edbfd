"""Sites outside the plate `"data"` that grow with the data, found on all the rows beside a part of them."""

from __future__ import annotations

__all__ = ["check_rows", "follows_rows", "ties_rows"]

from collections.abc import Iterator, Mapping
from typing import Any

from ..messengers.minibatch import DATA_PLATE
from ..supports.support_sets import base_of
from .finding import Finding
from .pair_sites import PairSites, in_data_plate, plate_cure


def check_rows(pair: PairSites, small: Mapping[str, Any], small_size: int) -> Iterator[Finding]:
    """Sites of the model that hold one entry for every datum, or one value over all of them, outside the data plate.

    None of them stops a fit to all the data; mini-batches are refused with them.

    Args:
        pair: a run on all the rows.
        small: the model's sites on fewer rows, empty if it does not run on fewer.
        small_size: how many.
    """
    free = [name for name, site in pair.model.items() if not in_data_plate(site)]
    outside = [name for name in free if _holds_rows(pair, name, small, small_size)]
    tied = [name for name in outside if ties_rows(pair.model[name], small.get(name))]
    for name in tied:
        yield _dependent(pair, name)
    outside = [name for name in outside if name not in tied]
    if not outside:
        return
    listed, have = ", ".join(f"`{name}`" for name in outside), "has" if len(outside) == 1 else "have"
    frames = [frame for name in outside for frame in pair.model[name]["cond_indep_stack"] if frame.vectorized]
    other = next((frame.name for frame in frames if frame.size == pair.size), None)
    if any(in_data_plate(site) for site in pair.model.values()):
        code, cure = "outside-data-plate", f"Move it into {plate_cure(pair)}."
        what = f"{listed} {have} one entry for every datum, outside the plate `{DATA_PLATE}`"
        then = "mini-batches would not scale it, and scores per datum would miss it"
    else:
        code, cure = "no-data-plate", f"Put it in {plate_cure(pair)}."
        what = f"No plate named `{DATA_PLATE}` is around {listed}, which {have} one entry for every datum"
        then = "mini-batches, scores per datum and `IWAE` per datum are not possible"
    if other is not None:
        cure = f'Rename the plate `{other}` to "{DATA_PLATE}": {plate_cure(pair)}.'
    yield Finding(code, outside[0], f"{what}: {then}.", cure, stops=frozenset())


def _dependent(pair: PairSites, name: str) -> Finding:
    kind = "observes" if pair.model[name]["is_observed"] else "draws"
    return Finding(
        "dependent-data",
        name,
        f"The model {kind} `{name}` as one value over all {pair.size} rows, which depend on each other (a series, a "
        f"field): together they are one datum.",
        f"Fit and score it as a whole, without mini-batches; there are no scores per row. For several such series, "
        f"give `{pair.first}` a leading axis, (series, …), and write {plate_cure(pair)} around them.",
        severity="note",
        stops=frozenset(),
    )


def _holds_rows(pair: PairSites, name: str, small: Mapping[str, Any], small_size: int) -> bool:
    site, size = pair.model[name], pair.size
    if follows_rows(site, small.get(name)) and size != small_size:
        return True
    value = site["value"]
    if not (site["is_observed"] and value.ndim and len(value) == size):
        return False
    return size == small_size or not small


def follows_rows(site: Any, small: Any) -> bool:
    """Whether a site's shape changes with the number of rows."""
    return small is not None and tuple(site["value"].shape) != tuple(small["value"].shape)


def ties_rows(site: Any, small: Any) -> bool:
    """Whether the rows are one event of a joint distribution, rather than independent ones put side by side."""
    if small is None:
        return False
    return base_of(site["fn"]).event_shape != base_of(small["fn"]).event_shape
