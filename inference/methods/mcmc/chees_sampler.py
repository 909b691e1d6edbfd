"""Many chains as the loop advances them: starts, warm-up of what they share, draws, and what they say of themselves."""

from __future__ import annotations

__all__ = ["ChEESSampler"]

import math
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.base import MemoryData
from ...fit.record import points_program
from ...run.algorithm import Algorithm, FitParts, Snapshot
from ...run.checkpoint_check import check_numbers, check_tensors
from ...seeding import derive_seed
from ...step.leapfrog_graph import LeapfrogGraph, Motion
from ..pathfinder.target import check_suited, posterior_target
from .adaptation import StepSize, WarmUp, windows
from .ensemble import Ended, step_of_half, together
from .metric import Metric, first_metric
from .options import ChainOptions
from .outcome import chain_parts
from .starts import find_starts
from .trajectory_length import TrajectoryLength, halton

_LEAPFROGS = 4  # of a transition, about
_PATHS, _FEWEST_PATHS = 8, 4  # that chains start from, each at a draw of its own
_FIRST_LENGTH, _FIRST_LEAPFROGS = 1.0, 10.0  # of the first trajectories: the shorter of both
_STATS = ("acceptance_rate", "energy", "n_steps", "diverging")  # ArviZ's names


class ChEESSampler(Algorithm):
    """All chains of one fit, by stretches that end where a window of the warm-up or a row does.

    Windows, in which the metric is learned, lie in the first half of the warm-up: many chains need few transitions for
    it. The second half is for the length of the trajectories, in coordinates that stay.

    Args:
        options: the configuration.
        model: the fit's copy of the model.
        train: the data.
        seed: of this fit.
        most_leapfrogs: steps of a trajectory.
        dtype: number type that the chains move in; None for that of the starts, float64 where the device has it.
    """

    restorable = True

    def __init__(
        self,
        options: ChainOptions,
        model: Any,
        train: MemoryData,
        seed: int,
        most_leapfrogs: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        batch = train.batch()
        check_suited(type(options).__name__, model, batch)
        self.options, self.seed, self.most_leapfrogs = options, seed, most_leapfrogs
        self.most_steps = options.num_warmup + options.steps
        self.program = points_program(model, batch)
        self.target = posterior_target(model, batch, seed)
        self.dim, self.chains = self.target.log_density.dim, options.num_chains
        self.starts = _equal_parts(self.chains)
        self.warm_up = WarmUp(options.num_warmup, windows(options.num_warmup // 2), options.log_every)
        self.centre, self.density = self.target.centre, self.target.log_density
        if dtype is not None and dtype != self.centre.dtype:
            self.centre = self.centre.to(dtype)
            self.density = posterior_target(model, batch, seed, dtype=dtype).log_density
        self.metric = Metric(np.ones(self.dim))
        self.graph: LeapfrogGraph | None = None
        self.begun = False
        nothing = self.centre.new_zeros(self.chains, self.dim)
        self.motion = Motion(nothing, nothing, nothing, nothing[:, 0].clone())
        self.step_size, self.length = StepSize.start(1.0), TrajectoryLength.start(1.0)
        self.draws = torch.empty(0, self.chains, self.dim, dtype=torch.float64, device="cpu")  # u, as in `Sampler`
        self.stats = torch.empty(0, self.chains, len(_STATS), dtype=torch.float64, device="cpu")
        self.recent = self.stats
        self.gradients = 0

    def start(self) -> None:
        factor = self._on_device(self.metric.factor)
        if not self.begun:
            starts = find_starts(self.target, self.chains, self.seed, self.starts or _PATHS)
            self.metric = first_metric(self.options.metric, starts.scale_tril)
            factor = self._on_device(self.metric.factor)
        self.graph = LeapfrogGraph(self.density, factor, self.chains)
        self.graph.prepare(self.options.compile, self.centre, _LEAPFROGS * (self.most_steps or 0))
        if not self.begun:
            self.begun = True
            self._settle(self._on_device(starts.u), 0)

    def _on_device(self, value: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(value)).to(self.centre)

    def _noise(self, purpose: str, step: int) -> tuple[Tensor, Tensor]:
        """Momenta ``(C, D)`` and uniform numbers ``(C,)`` of one step: a function of the seed and these alone."""
        like = self.motion.v
        generator = torch.Generator(like.device).manual_seed(derive_seed(self.seed, purpose, step))
        p = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return p, torch.rand(len(like), generator=generator, dtype=like.dtype, device=like.device)

    def _settle(self, u: Tensor, step: int) -> None:
        """Put the chains at `u` in the present metric, and begin step size and length anew."""
        graph = self._graph
        graph.set_factor(self._on_device(self.metric.factor))
        self.motion = graph.at(graph.to_v(u))
        found = step_of_half(graph, self.motion, self.step_size.present, self._noise("step size", step)[0])
        self.step_size = StepSize.start(found)
        self.length = TrajectoryLength.start(min(_FIRST_LENGTH, _FIRST_LEAPFROGS * found))

    @property
    def _graph(self) -> LeapfrogGraph:
        assert self.graph is not None, "it was not started"
        return self.graph

    def advance(self, step: int, most: int) -> int:
        count = self.warm_up.stretch(step, most)
        draws, stats = [], []
        for i in range(step, step + count):
            ended, leapfrogs = self._transition(i)
            self.motion = ended.motion
            draws.append(ended.motion.v)
            made = torch.full_like(ended.energy, leapfrogs)
            stats.append(torch.stack([ended.acceptance, ended.energy, made, ended.diverged.to(made)], -1))
        u = torch.stack([self._graph.to_u(v) for v in draws])
        found = torch.stack(stats).double().cpu()
        self.draws = torch.cat([self.draws, u.double().cpu()])
        self.stats, self.recent = torch.cat([self.stats, found]), torch.cat([self.recent, found])
        self._turn(step + count)
        return count

    def _transition(self, i: int) -> tuple[Ended, int]:
        """Transition i of all chains; while they warm up, what they share adapts: one read of two numbers."""
        warm = i < self.options.num_warmup
        epsilon = math.exp(self.step_size.latest if warm else self.step_size.average)
        time = halton(i + 1) * math.exp(self.length.latest if warm else self.length.average)
        leapfrogs = min(max(math.ceil(min(time / epsilon, self.most_leapfrogs)), 1), self.most_leapfrogs)
        ended = together(self._graph, self.motion, epsilon, leapfrogs, *self._noise("transition", i), warm)
        if ended.told is not None:
            acceptance, slope = ended.told.tolist()
            self.step_size = self.step_size.update(acceptance, self.options.target_acceptance)
            self.length = self.length.update(slope, self.most_leapfrogs * math.exp(self.step_size.average))
        return ended, leapfrogs

    def _turn(self, step: int) -> None:
        """Where a window begins or ends, or the warm-up does."""
        if self.warm_up.adapts(step):
            latest = self.draws[-1]
            if self.options.metric != "unit":
                self.metric = self.metric.adapted(self.draws.transpose(0, 1).numpy())
            self._settle(latest.to(self.motion.v), step)
        if self.warm_up.forgets(step):
            self.draws, self.stats = self.draws[:0], self.stats[:0]

    def row(self, step: int) -> dict[str, Any]:
        warm = step <= self.options.num_warmup
        means = dict(zip(_STATS, self.recent.flatten(0, 1).mean(0).tolist(), strict=True))
        divergences = int(self.recent[..., _STATS.index("diverging")].sum())
        self.recent = self.recent[:0]
        return {
            "loss": -float(self.motion.value.mean()),
            "acceptance": means["acceptance_rate"],
            "step_size": math.exp(self.step_size.latest if warm else self.step_size.average),
            "trajectory_length": math.exp(self.length.latest if warm else self.length.average),
            "leapfrogs": means["n_steps"],
            "divergences": divergences,
        }

    def state(self) -> Snapshot:
        motion = {name: value.clone() for name, value in self.motion._asdict().items()}
        tensors = {
            **motion,
            "factor": torch.from_numpy(np.array(self.metric.factor)),
            "step_size": torch.tensor(astuple(self.step_size), dtype=torch.float64, device="cpu"),
            "length": torch.tensor(astuple(self.length), dtype=torch.float64, device="cpu"),
            **{name: getattr(self, name).clone() for name in ("draws", "stats", "recent")},
        }
        gradients = self.gradients + (0 if self.graph is None else self.graph.gradients)
        return Snapshot(tensors, {"gradients": gradients, "begun": self.begun})

    @property
    def shapes(self) -> dict[str, Tensor]:
        return {"u": torch.empty(self.chains, self.dim, dtype=torch.float64)}

    def check(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        own = {name: value for name, value in self.state().tensors.items() if name != "factor"}
        for name in ("draws", "stats", "recent"):
            own[name] = own[name][:0]
        dense = snapshot.tensors["factor"].dim() == 2
        own["factor"] = torch.empty((self.dim, self.dim) if dense else self.dim, dtype=torch.float64)
        check_tensors(snapshot.tensors, own)
        check_numbers(snapshot.values, "gradients", "begun")

    def load(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        found = {name: value.cpu() for name, value in snapshot.tensors.items()}
        self.metric, self.begun = Metric(found["factor"].numpy()), snapshot.values["begun"]
        self.motion = Motion(*[found[name].to(self.motion.v) for name in Motion._fields])
        anchor, count, *rest = found["step_size"].tolist()
        self.step_size = StepSize(anchor, int(count), *rest)
        latest, average, count, square = found["length"].tolist()
        self.length = TrajectoryLength(latest, average, int(count), square)
        self.draws, self.stats, self.recent = (found[name] for name in ("draws", "stats", "recent"))
        self.gradients = snapshot.values["gradients"] - (0 if self.graph is None else self.graph.gradients)
        if self.graph is not None:
            self.graph.set_factor(self._on_device(self.metric.factor))

    def finish(self, status: str) -> FitParts:
        latest = self._u_of(self.motion.v).double().cpu().unsqueeze(0)
        draws, kept = (self.draws, True) if len(self.draws) else (latest, False)
        stats = None
        if kept:
            columns = dict(zip(_STATS, self.stats.transpose(0, 1).unbind(-1), strict=True))
            sizes = torch.full_like(columns["energy"], math.exp(self.step_size.average))
            whole = {"n_steps": columns["n_steps"].long(), "diverging": columns["diverging"].bool()}
            stats = columns | whole | {"step_size": sizes}
        info = {
            "gradients": self.state().values["gradients"],
            "step_size": math.exp(self.step_size.average),
            "trajectory_length": math.exp(self.length.average),
        }
        u = draws.transpose(0, 1).to(self.target.centre)
        return chain_parts(self.program, self.target.log_density.density, u, stats, info, self.starts)

    def _u_of(self, v: Tensor) -> Tensor:
        return torch.from_numpy(self.metric.to_u(v.cpu().numpy()))


def _equal_parts(chains: int) -> int | None:
    """How many paths are shared by as many chains each; None where chains are few, or no such number divides them."""
    fits = (paths for paths in range(_PATHS, _FEWEST_PATHS - 1, -1) if chains % paths == 0 and chains > paths)
    return next(fits, None)
