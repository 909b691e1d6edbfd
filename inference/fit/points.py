"""Stored draws as a pair: a guide of points that they are put into."""

from __future__ import annotations

__all__ = ["points_program"]

from collections.abc import Mapping
from typing import Any

import torch
from pyro.infer.autoguide import AutoDelta
from torch import Tensor

from ..guides import build_guide
from ..pair.program import Program


def points_program(model: Any, batch: Mapping[str, Tensor]) -> Program:
    """The model with a guide of points, which stored draws are put into."""
    with torch.random.fork_rng(devices=[]):
        return Program(model, build_guide(AutoDelta, model, batch))
