"""A fixed-seed, many-draw bound on validation data, and the decision to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .objectives.base import Objective
from .program import Program
from .seeding import derive_seed

__all__ = ["EarlyStopping", "bound_on"]


def bound_on(
    program: Program,
    objective: Objective,
    data: Mapping[str, torch.Tensor],
    *,
    seed: int,
    repeats: int = 16,
    chunk: int = 2048,
) -> tuple[float, float]:
    """The objective's plain bound on `data`, in nats (a total): mean and standard error over `repeats` sets of draws.

    The draws depend on `seed` only, so two calls differ by the parameters alone. Without global latents the data are
    taken `chunk` at a time.
    """
    size = len(next(iter(data.values())))
    structure = program.structure({key: value[: min(size, chunk)] for key, value in data.items()})
    whole = bool(structure.global_latents) or structure.batch_size is None
    pieces = [slice(0, size)] if whole else [slice(i, i + chunk) for i in range(0, size, chunk)]
    values = []
    training = program.training
    program.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=_devices(data)):
            for repeat in range(repeats):
                torch.manual_seed(derive_seed(seed, "validation", repeat))
                parts = [
                    objective.bound(
                        program, {k: v[piece] for k, v in data.items()}, weight=objective.schedule(1.0)
                    ).bound
                    for piece in pieces
                ]
                values.append(torch.stack(parts).sum())
    finally:
        program.train(training)
    stacked = torch.stack(values).double().cpu()
    stderr = float(stacked.std() / math.sqrt(repeats)) if repeats > 1 else 0.0
    return float(stacked.mean()), stderr


def _devices(data: Mapping[str, torch.Tensor]) -> list[torch.device]:
    return sorted({value.device for value in data.values() if value.is_cuda}, key=str)


@dataclass
class EarlyStopping:
    """Stop when the validation bound has not risen for `patience` checks, after `warm_up` of training.

    Attributes:
        best: the highest bound so far; `best_step` its step.
    """

    patience: int | None
    warm_up: int
    best: float = -math.inf
    best_step: int = -1
    bad: int = field(default=0)

    def update(self, step: int, value: float) -> bool:
        """Take in a new value; whether it is the best so far (counted only after the warm-up)."""
        if step < self.warm_up:
            return False
        if value > self.best:
            self.best, self.best_step, self.bad = value, step, 0
            return True
        self.bad += 1
        return False

    @property
    def should_stop(self) -> bool:
        return self.patience is not None and self.bad >= self.patience
