"""A fixed-seed, many-draw bound on validation data, and the decision to stop."""

from __future__ import annotations

__all__ = ["EarlyStopping", "bound_on"]

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ..objectives.base import Objective
from ..pair.program import Program
from ..seeding import derive_seed


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

    The draws depend on `seed` only, so two calls differ by the parameters alone. The data are taken `chunk` at a time
    where that is the same: not with global latents, nor where a global site depends on local draws or on the rows in
    the chunk. A global factor counts once.
    """
    size = len(next(iter(data.values())))
    structure = program.structure({key: value[: min(size, chunk)] for key, value in data.items()})
    whole = bool(structure.global_latents) or structure.is_coupled or structure.batch_size is None
    pieces = [slice(0, size)] if whole else [slice(i, i + chunk) for i in range(0, size, chunk)]
    values = []
    training = program.training
    program.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=_devices(data)), program.at_rest():
            for repeat in range(repeats):
                torch.manual_seed(derive_seed(seed, "validation", repeat))
                try:
                    found = _in_pieces(program, objective, data, pieces)
                except _DependsOnRows:
                    pieces = [slice(0, size)]
                    torch.manual_seed(derive_seed(seed, "validation", repeat))
                    found = _in_pieces(program, objective, data, pieces)
                values.append(found)
    finally:
        program.train(training)
    stacked = torch.stack(values).double().cpu()
    stderr = float(stacked.std() / math.sqrt(repeats)) if repeats > 1 else 0.0
    return float(stacked.mean()), stderr


class _DependsOnRows(Exception):
    """A global factor is another one for other rows."""


def _in_pieces(
    program: Program, objective: Objective, data: Mapping[str, torch.Tensor], pieces: list[slice]
) -> torch.Tensor:
    """The bound from the pieces' terms, each with its part of the global ones."""
    values: list[torch.Tensor] = []
    common: torch.Tensor | None = None
    for piece in pieces:
        rows = {name: value[piece] for name, value in data.items()}
        terms = objective.evaluate(program, rows, share=1.0 / len(pieces))
        shared = terms.log_weight_global
        if shared is not None:
            if common is not None and not torch.allclose(shared, common, rtol=1e-5, atol=1e-5, equal_nan=True):
                raise _DependsOnRows
            common = shared
        values.append(objective.reduce(terms, objective.schedule(1.0)).bound.double())
    return torch.stack(values).sum()


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
