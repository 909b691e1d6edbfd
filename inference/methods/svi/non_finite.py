"""Find where a fit stopped being finite: the interval is repeated eagerly, step by step."""

from __future__ import annotations

__all__ = ["explain_non_finite", "parameters_are_finite"]

import torch

from ...step.checks import first_bad_site
from ...step.engine import Engine
from .snapshot import StepSnapshot


def parameters_are_finite(engine: Engine) -> bool:
    """Whether every parameter is finite (one read of the device)."""
    return bool(torch.stack([torch.isfinite(p).all() for p in engine.state.parameters]).all())


def explain_non_finite(engine: Engine, good: StepSnapshot, bad: int, steps: int) -> tuple[int, str]:
    """The step at which it happened, and a sentence that names the site or parameter.

    The engine is left at the state before that step.

    Args:
        engine: the engine.
        good: the last state that was finite.
        bad: the first step known to be bad.
        steps: the run's total number of steps.
    """
    engine.load(good.state, good.keys)
    for step in range(good.step, min(bad + 1, steps)):
        before, keys = engine.state.clone(), engine.optimizer_keys
        bounds = engine.apply(step, engine.gradients(step))
        if bool(torch.isfinite(bounds).all()) and parameters_are_finite(engine):
            continue
        engine.load(before, keys)
        return step, first_bad_site(engine, step)
    return bad, "repeated eagerly, the same steps stay finite: rounding decides. Lower `lr`, or set `clip_norm`."
