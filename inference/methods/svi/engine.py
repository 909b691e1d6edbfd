"""The engine of a run, put together from its configuration."""

from __future__ import annotations

__all__ = ["build_engine"]

import torch

from ...data.base import Data
from ...data.feed import Feed
from ...errors import ConfigurationError
from ...objectives.base import Objective
from ...pair.program import Program
from ...step.engine import Engine
from ...step.function import StepFunction
from ...step.learning_rates import LearningRates
from ...step.schedules import StepSchedules
from ...step.shard import Shard
from ...step.update import Update, is_elementwise
from .options import SVIOptions


def build_engine(
    svi: SVIOptions,
    program: Program,
    data: Data,
    feed: Feed,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    shard: Shard | None,
    expected_steps: int,
) -> Engine:
    """The engine for the steps of `svi` on a bound pair, of which so many are expected.

    Raises:
        ConfigurationError: if the pair has no trainable parameter.
    """
    assert isinstance(svi.objective, Objective) and svi.lr is not None
    function = StepFunction(
        program,
        svi.objective,
        data_size=data.size,
        transform=svi.transform,
        precision=svi.precision,
        flat=is_elementwise(svi.optimizer),
        processes=1 if shard is None else shard.size,
    )
    if not function.names:
        raise ConfigurationError("There is nothing to fit: neither the model nor the guide has a trainable parameter.")
    schedule = StepSchedules(svi.objective, LearningRates(svi.lr, svi.lr_schedule, svi.steps), svi.steps, device, dtype)
    return Engine(
        function,
        Update(svi.build_optimizer, svi.lr, svi.clip_norm, svi.average),
        feed,
        seed=seed,
        compile=svi.compile,
        schedule=schedule,
        choose_threads=svi.threads is None and device.type == "cpu",
        shard=shard,
        expected_steps=expected_steps,
    )
