"""`steps="auto"`: when a fit is done, when its rate falls, and the steps that are taken back."""

from __future__ import annotations

__all__ = ["STEPS", "AutoSteps", "auto_steps", "expected_steps", "resolved", "validate_every"]

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError
from ...objectives.base import Objective
from ...pair.program import Program
from ...run.convergence import CONVERGED, NOT_CONVERGED, Verdict
from ...run.held_out import HeldOut
from ...run.jumps import Jumps
from ...run.plateau import LOWER, STOP, Plateau, tolerance_of
from ...run.plateau import RATE as LOWERED
from ...step.engine import Engine
from ...warn import warn_user
from ..options import AUTO
from .networks import has_networks
from .options import RATE, SVIOptions
from .rest import Rest
from .start import is_whitened

NETWORK_RATE = 1e-3  # by default, where networks are fitted
STEPS = 5_000  # of a fit that cannot tell whether it is done; and after which noise may hide what is left
_MOST_STEPS = 30_000  # of "auto"
_FIRST_STAGE = 4_000  # steps of more parameters than data, where nothing shows when to end
_EPOCHS = 20  # … or so many passes through the data
_BLOCK, _PATIENCE = 25, 2_500  # steps of a point; of a first stage that noise hides
_LONGEST_EPOCH = 50  # steps, of which blocks are whole epochs
_TEST_EVERY = 10  # rows, of a guide at rest
_MOST_BACK = 5  # halvings in all
_TRIES, _SAME = 2, 0.8  # halvings of one interval after which its bound must fall by less than this part
_GUIDE = "guide_module."  # of the names of parameters that are the guide's own


def resolved(svi: SVIOptions, program: Program) -> SVIOptions:
    """The options with numbers: of steps ``"auto"`` the most, of a rate that is not given what suits the program."""
    assert isinstance(svi.objective, Objective)
    fixed = svi.objective.is_scheduled or svi.lr_schedule is not None  # functions of the fraction of training
    steps = svi.steps if svi.steps != AUTO else STEPS if fixed else _MOST_STEPS
    amortised = not isinstance(svi.guide, str) and has_networks(program)
    return replace(svi, steps=steps, lr=svi.lr or (NETWORK_RATE if amortised else RATE))


def expected_steps(svi: SVIOptions, most: int, start: Mapping[str, Any]) -> int:
    """The steps that a fit is expected to take, of the `most`: what is chosen by their number goes by it."""
    return STEPS if svi.steps == AUTO and not is_whitened(start) else most


def validate_every(svi: SVIOptions) -> int:
    """Steps between evaluations on the validation data."""
    return svi.validate_every or max(svi.log_every, (STEPS if svi.steps == AUTO else svi.steps) // 50)


def auto_steps(svi: SVIOptions, engine: Engine, start: Mapping[str, Any], rows: int, held_out: int | None) -> AutoSteps:
    """What watches a fit.

    Args:
        svi: the options as they were given.
        engine: of the fit.
        start: how the guide was started.
        rows: the number of data; `held_out`: of the validation data, None without them.
    """
    assert isinstance(svi.objective, Objective)
    function, auto, scheduled = engine.function, svi.steps == AUTO, svi.objective.is_scheduled
    values = list(function.parameters.values())
    rest: Rest | None = None
    if is_whitened(start) and all(name.startswith(_GUIDE) for name in function.names):
        rest = Rest(function.names, values)
    ends = auto and not scheduled and svi.lr_schedule is None
    watch: Plateau | HeldOut | None = None
    if ends and rest is None:
        size = sum(value.numel() for value in values)
        if held_out is not None:
            watch = HeldOut(tolerance_of(held_out, size))
        else:
            watch = _plateau(size, rows, _steps_per_epoch(svi, rows), has_networks(function.program))
    return AutoSteps(engine, rest, watch, ends, Jumps() if auto and not scheduled else None, auto)


def _steps_per_epoch(svi: SVIOptions, rows: int) -> int:
    size = min(svi.batch_size or rows, rows)
    return rows // size if svi.drop_last else -(-rows // size)


def _plateau(size: int, rows: int, epoch: int, networks: bool) -> Plateau:
    block = epoch * -(-_BLOCK // epoch) if epoch <= _LONGEST_EPOCH else _BLOCK
    limit = max(_FIRST_STAGE, _EPOCHS * epoch) // block if networks and size > rows else None
    return Plateau(
        tolerance_of(rows, size), block=block, enough=STEPS // block, patience=_PATIENCE // block, limit=limit
    )


class AutoSteps:
    """The watch over one fit; of a given number of steps it only tells at the end whether the guide is at rest.

    Args:
        engine: of the fit.
        rest: of a guide that started at Pathfinder's normal, else None.
        watch: of others, where the fit ends by itself.
        ends: whether the fit ends by itself.
        jumps: what finds intervals that threw the fit away, else None.
        retries: whether steps are taken back.
    """

    def __init__(
        self,
        engine: Engine,
        rest: Rest | None,
        watch: Plateau | HeldOut | None,
        ends: bool,
        jumps: Jumps | None,
        retries: bool,
    ) -> None:
        self.engine, self.rest, self.watch, self.ends = engine, rest, watch, ends
        self.jumps, self.retries = jumps, retries
        self.backs, self.told = 0, False  # halvings so far; whether they were told of
        self.done = False
        self._tries = 0  # at the present interval
        self._fall, self._first_fall = "", 0.0  # what went wrong there, and by how much the bound fell at first
        self._latest = 0.0  # by how much it fell now
        if retries:
            engine.schedule.rates.adaptive = True

    def failed(self, values: Tensor, finite: bool) -> bool:
        """Whether the interval whose steps had these objectives and bounds ``(count, 2)`` is to be made again."""
        if not self.retries or self.backs >= _MOST_BACK:
            return False
        if not finite:
            self._fall = "or a parameter stopped being finite"
            return True
        if self.jumps is None or not (fall := self.jumps.fall(values[:, 0].tolist())):
            return False
        self._latest = fall
        if self._tries >= _TRIES and fall > _SAME * self._first_fall:  # the data are others, not the rate too large
            self.engine.schedule.rates.lowered = self.engine.schedule.rates.lowered[: -self._tries]
            self.backs, self.jumps = self.backs - self._tries, None
            return False
        self._fall = f"fell by {fall:.4g} nats, beyond its noise"
        return True

    def take_back(self, step: int, failed: int) -> None:
        """Halve the rate from `step` on, after the steps until `failed` were undone."""
        self._first_fall = self._first_fall if self._tries else self._latest
        self._tries += 1
        self.backs += 1
        self.engine.schedule.rates.lower(step, 0.5)
        if not self.told:
            self.told = True
            rate = self.engine.schedule.rates(step)
            warn_user(
                f"By step {failed} the bound {self._fall}, so the fit went back to step {step} and goes on with half "
                f"the learning rate ({rate:.3g}), as it will again, silently, at most {_MOST_BACK} times in all "
                f"(`fit.info['step_backs']`). A smaller `lr`, `clip_norm` or standardised data avoid that."
            )

    def row(self, values: Tensor, step: int, held_out: float | None) -> bool:
        """Take in the objectives and bounds ``(count, 2)`` of a row's steps, and the validation bound where there is
        one; whether the fit is to go on from its best state with a lower rate."""
        self._tries = 0
        numbers = values[:, 0].tolist()
        if self.jumps is not None:
            self.jumps.add(numbers)
        if self.rest is not None:
            self.rest.add(self.engine.function.unpack(self.engine.state.parameters))
            if self.ends and len(self.rest.rows) % _TEST_EVERY == 0:
                self.done = self.rest.verdict().status == CONVERGED
        if self.watch is None or (self.watch.keeps_best and held_out is None):
            return False
        self.watch.add([held_out] if self.watch.keeps_best and held_out is not None else numbers)
        decision = self.watch.decide()
        self.done = decision == STOP
        if decision == LOWER:
            self.engine.schedule.rates.lower(step, LOWERED)
        return decision == LOWER and self.watch.keeps_best

    @property
    def keeps_best(self) -> bool:
        """Whether the state with the best validation bound is gone on from, and returned."""
        return self.watch is not None and self.watch.keeps_best

    @property
    def rows(self) -> Tensor:
        """The parameters of a guide, a row a logging interval; else empty."""
        return torch.empty(0, device="cpu") if self.rest is None else self.rest.rows

    def verdict(self) -> Verdict | None:
        """Whether the fit has come to rest; None leaves that to its history."""
        if self.watch is not None:
            return self.watch.verdict()
        return None if self.rest is None else self.rest.verdict()

    def average(self) -> list[Tensor] | None:
        """The mean of the parameters from where a guide is not on its way any more; None where there is none."""
        if self.rest is None or self.rest.verdict().status == NOT_CONVERGED:
            return None
        return self.rest.average()

    def check(self, stored: Mapping[str, Any]) -> None:
        """Raise whatever fits unless :meth:`read` can go on from this; nothing is changed."""
        other, rates = copy.copy(self), self.engine.schedule.rates
        other.rest, other.watch, other.jumps = None, copy.deepcopy(self.watch), copy.deepcopy(self.jumps)
        before = rates.lowered
        try:
            other.read(stored, self.rows)
            if any(not 0.0 < factor <= 1.0 for _, factor in rates.lowered):
                raise CheckpointError("the factors of its learning rate are none")
        finally:
            rates.lowered = before

    def stored(self) -> dict[str, Any]:
        """The state, but for the rows of a guide, as plain values; none of a given number of steps."""
        if not self.retries:
            return {}
        return {
            "lowered": [list(pair) for pair in self.engine.schedule.rates.lowered],
            "backs": self.backs,
            "tries": self._tries,
            "first_fall": self._first_fall,
            "told": self.told,
            "done": self.done,
            "watch": None if self.watch is None else self.watch.stored(),
            "jumps": None if self.jumps is None else self.jumps.stored(),
        }

    def read(self, stored: Mapping[str, Any], rows: Tensor) -> None:
        """Go on from what :meth:`stored` returned, and these `rows`; without a state as of an earlier version's run."""
        if self.rest is not None:
            self.rest.rows = rows
        if not stored or not self.retries:
            return
        self.engine.schedule.rates.lowered = [(int(step), float(factor)) for step, factor in stored["lowered"]]
        self.backs, self._tries = int(stored["backs"]), int(stored["tries"])
        self._first_fall = float(stored["first_fall"])
        self.told, self.done = self.told or bool(stored["told"]), bool(stored["done"])
        if self.watch is not None and stored["watch"] is not None:
            self.watch.read(stored["watch"])
        if stored["jumps"] is None:
            self.jumps = None
        elif self.jumps is not None:
            self.jumps.read(stored["jumps"])
