"""Plates: loops over the data, sizes that differ, rows that the two programs would not share."""

from __future__ import annotations

__all__ = ["check_plates"]

from collections.abc import Iterator

import torch

from ..messengers.minibatch import DATA_PLATE
from .finding import ALL_USES, Finding
from .pair_sites import PairSites, data_frames, plate_cure, subsamples


def check_plates(pair: PairSites) -> Iterator[Finding]:
    """Look at the plates of model and guide."""
    loops = [finding for who in ("model", "guide") for finding in _sequential(pair, who)]
    rows = list(_rows(pair))
    yield from [*loops, *rows]
    if not (loops or rows):
        yield from _sizes(pair)


def _sequential(pair: PairSites, who: str) -> Iterator[Finding]:
    for name, site in (pair.model if who == "model" else pair.guide).items():
        for frame in site["cond_indep_stack"]:
            if frame.vectorized or (frame.name != DATA_PLATE and frame.size != pair.size):
                continue
            yield Finding(
                "sequential-plate",
                name,
                f"The plate `{frame.name}` around `{name}` in the {who} is a loop over the data.",
                f"Write it as a context, {plate_cure(pair)}, with one sample statement for all data.",
                stops=ALL_USES if frame.name == DATA_PLATE else frozenset(),
            )
            return


def _sizes(pair: PairSites) -> Iterator[Finding]:
    # a model's plate takes over its guide's rows, so what each declared itself is compared
    frames = [frame for site in (*pair.model.values(), *pair.guide.values()) for frame in data_frames(site)]
    sizes = sorted({frame.full_size or frame.size for frame in frames})
    if len(sizes) > 1:
        yield Finding(
            "plate-size",
            DATA_PLATE,
            f"The plate `{DATA_PLATE}` has different sizes in model and guide: {sizes}.",
            f"Declare it in both with the size of what they are given, {plate_cure(pair)}.",
        )
    elif pair.size is not None and any(frame.size != pair.size and not subsamples(frame) for frame in frames):
        yield Finding(
            "plate-size",
            DATA_PLATE,
            f"The plate `{DATA_PLATE}` has size {sizes[0]}, and the batch has {pair.size} data.",
            f"Declare it with the size of what it is given: {plate_cure(pair)}.",
            stops=frozenset({"fit"}),
        )


def _rows(pair: PairSites) -> Iterator[Finding]:
    """A guide must not pick rows at random for a plate whose rows the model is given."""
    for name, rows in pair.model_rows.items():
        if name in pair.guide_rows and not torch.equal(pair.guide_rows[name], rows):
            yield Finding(
                "other-rows",
                name,
                f"The guide's plate `{name}` has other rows than the model's, which is given its own by `subsample=…`, "
                f"so they would see different data.",
                f"Write the model for the batch it is given, `with pyro.plate({name!r}, len({pair.first})):`, and pass "
                f"`batch_size` to the fit.",
            )
