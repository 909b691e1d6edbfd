"""What is looked at before the first step: the pair, its batches and all the data."""

from __future__ import annotations

__all__ = ["check_start"]

from functools import partial
from typing import Any

from ...data.base import Data
from ...data.batch_shapes import check_batch_shapes
from ...data.feed import Feed, Stream
from ...data.observed_values import check_fed
from ...data.transforms import apply_transform
from ...objectives.base import Objective
from ...objectives.compatibility import check_pair
from ...objectives.rounding import warn_of_rounding
from ...pair.eager_run import kept_buffers
from ...pair.program import Program
from ...tensors import Tensors
from .network_inputs import warn_of_inputs
from .options import SVIOptions


def check_start(
    svi: SVIOptions,
    program: Program,
    guide: Any,
    data: Data,
    validation: Tensors | None,
    feed: Feed,
    first: Tensors,
    batch_size: int | None,
    seed: int,
    sharded: bool,
) -> None:
    """Raise whatever fits if the pair cannot be fitted to these data in this way; nothing is changed.

    Args:
        svi: the configuration.
        program, guide: the pair at its start.
        data: the training data, fed as `feed` does; `validation`: those whose bound is logged.
        first: the batch that the guide was built on.
        batch_size: data per step; None for a `DataLoader`, which brings its own.
        seed: of the start.
        sharded: whether several processes make the fit.

    Raises:
        ModelError, DataError, ConfigurationError: as the checks that are made.
    """
    assert isinstance(svi.objective, Objective)
    mini = isinstance(feed, Stream) or (batch_size is not None and batch_size < data.size)
    seen = apply_transform(svi.transform, program.model_owner, feed.batch(0), seed)
    with kept_buffers(program):
        if mini:
            shown = partial(apply_transform, svi.transform, None, seed=seed)
            check_batch_shapes(program, data, first, seen, shown)
        check_pair(program, svi.objective, seen, mini, guide, sharded)
        check_fed(program, data, validation, feed, svi.transform, seed)
        warn_of_rounding(program, svi.objective, seen)
        warn_of_inputs(program, seen)
