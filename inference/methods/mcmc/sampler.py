"""Chains of any kernel, as the loop advances them: starts, warm-up, draws, and what they say about themselves."""

from __future__ import annotations

__all__ = ["Sampler"]

import math
from dataclasses import astuple
from typing import Any, Protocol

import numpy as np
import torch

from ...data.base import MemoryData
from ...fit.record import points_program
from ...run.algorithm import Algorithm, FitParts, Snapshot
from ...run.checkpoint_check import check_numbers, check_tensors
from ...step.density_graph import DensityGraph
from ..pathfinder.target import check_suited, posterior_target
from .adaptation import StepSize, WarmUp, windows
from .chains import run_together
from .metric import Metric, first_metric
from .options import ChainOptions
from .outcome import chain_parts
from .starts import chain_generator, find_starts
from .tree import Ask, Place, Transition, reasonable_step

_LEAPFROGS = 8  # of a transition, about
_STATS = ("acceptance_rate", "energy", "n_steps", "tree_depth", "diverging")  # ArviZ's names
_WHOLE = ("n_steps", "tree_depth")


class Kernel(Protocol):
    """One transition."""

    def __call__(self, start: Place, step_size: float, rng: np.random.Generator) -> Ask[Transition]: ...


class Sampler(Algorithm):
    """The chains of one fit, advanced together by stretches that end where a window of the warm-up or a row does.

    Args:
        options: the configuration.
        model: the fit's copy of the model.
        train: the data.
        seed: of this fit.
        kernel: one transition.
        trees: whether transitions have a depth, which is then said of each.
    """

    restorable = True

    def __init__(
        self, options: ChainOptions, model: Any, train: MemoryData, seed: int, kernel: Kernel, trees: bool = True
    ) -> None:
        batch = train.batch()
        check_suited(type(options).__name__, model, batch)
        self.options, self.seed, self.kernel, self.trees = options, seed, kernel, trees
        self.most_steps = options.num_warmup + options.steps
        self.program = points_program(model, batch)
        self.target = posterior_target(model, batch, seed)
        self.dim = self.target.log_density.dim
        self.warm_up = WarmUp(options.num_warmup, windows(options.num_warmup), options.log_every)
        count = options.num_chains
        self.metric = Metric(np.ones(self.dim))
        self.density = DensityGraph(self.target.log_density.density)  # of as many rows as there are chains
        self.begun = False
        self.places = [Place(np.zeros(self.dim), 0.0, np.zeros(self.dim))] * count
        self.step_sizes = [StepSize.start(1.0)] * count
        self.draws = np.empty((count, 0, self.dim))  # u of the present window, or those that are kept
        self.stats = np.empty((count, 0, len(_STATS)))  # of the same
        self.recent = np.empty((count, 0, len(_STATS)))  # since the newest row
        self.gradients = 0

    def start(self) -> None:
        if self.options.compile is not False:
            rows = self.target.centre.expand(self.options.num_chains, -1).clone()
            calls = _LEAPFROGS * (self.options.num_warmup + self.options.steps)
            self.density.compile(rows, None if self.options.compile else calls)
        if not self.begun:
            self.begun = True
            self._begin()

    def _begin(self) -> None:
        """Put each chain at its start, in the metric of the best path's normal."""
        starts = find_starts(self.target, self.options.num_chains, self.seed)
        self.metric = first_metric(self.options.metric, starts.scale_tril)
        self._settle(starts.u, 0)

    def _evaluate(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.gradients += 1
        value, gradient = self.density(torch.from_numpy(np.ascontiguousarray(u)).to(self.target.centre.device))
        return value.cpu().numpy(), gradient.cpu().numpy()

    def _settle(self, u: np.ndarray, step: int) -> None:
        """Put the chains at `u` in the present metric, and find step sizes for it."""
        v = self.metric.to_v(u)
        values, gradients = self._evaluate(u)
        pulled = self.metric.pull(gradients)
        self.places = [Place(*parts) for parts in zip(v, values.tolist(), pulled, strict=True)]
        chains = [
            reasonable_step(place, size, chain_generator(self.seed, "step size", chain, step))
            for chain, (place, size) in enumerate(
                zip(self.places, [size.present for size in self.step_sizes], strict=True)
            )
        ]
        self.step_sizes = [StepSize.start(size) for size in run_together(chains, self._evaluate, self.metric, u)]

    def advance(self, step: int, most: int) -> int:
        count = self.warm_up.stretch(step, most)
        chains = [
            self._stretch(place, size, chain, step, count)
            for chain, (place, size) in enumerate(zip(self.places, self.step_sizes, strict=True))
        ]
        u = self.metric.to_u(np.stack([place.v for place in self.places]))
        ended = run_together(chains, self._evaluate, self.metric, u)
        self.places = [place for place, *_ in ended]
        self.step_sizes = [size for _, size, *_ in ended]
        draws = np.stack([self.metric.to_u(np.stack(moves)) for _, _, moves, _ in ended])
        stats = np.array([rows for *_, rows in ended], dtype=float)
        self.draws, self.stats, self.recent = (
            np.concatenate([old, new], 1)
            for old, new in ((self.draws, draws), (self.stats, stats), (self.recent, stats))
        )
        self._turn(step + count)
        return count

    def _turn(self, step: int) -> None:
        """Where a window begins or ends, or the warm-up does."""
        if self.warm_up.adapts(step):
            latest = self.draws[:, -1]
            if self.options.metric != "unit":
                self.metric = self.metric.adapted(self.draws)
            self._settle(latest, step)
        if self.warm_up.forgets(step):
            self.draws, self.stats = self.draws[:, :0], self.stats[:, :0]

    def _stretch(
        self, place: Place, size: StepSize, chain: int, step: int, count: int
    ) -> Ask[tuple[Place, StepSize, list[np.ndarray], list[tuple[float, ...]]]]:
        """`count` transitions of one chain; the step size adapts while it warms up."""
        moves: list[np.ndarray] = []
        rows: list[tuple[float, ...]] = []
        for i in range(step, step + count):
            warm = i < self.options.num_warmup
            epsilon = math.exp(size.latest if warm else size.average)
            moved = yield from self.kernel(place, epsilon, chain_generator(self.seed, "transition", chain, i))
            place = moved.place
            if warm:
                size = size.update(moved.acceptance, self.options.target_acceptance)
            moves.append(place.v)
            rows.append((moved.acceptance, moved.energy, moved.leapfrogs, moved.depth, moved.diverged))
        return place, size, moves, rows

    def row(self, step: int) -> dict[str, Any]:
        stats, warm = self.recent, step <= self.options.num_warmup
        means = dict(zip(_STATS, stats.reshape(-1, len(_STATS)).mean(0).tolist(), strict=True))
        self.recent = stats[:, :0]
        sizes = [size.latest if warm else size.average for size in self.step_sizes]
        return {
            "loss": -float(np.mean([place.value for place in self.places])),
            "acceptance": means["acceptance_rate"],
            "step_size": float(np.exp(np.mean(sizes))),
            "leapfrogs": means["n_steps"],
            "divergences": int(stats[..., _STATS.index("diverging")].sum()),
        }

    def state(self) -> Snapshot:
        tensors = {
            "v": np.stack([place.v for place in self.places]),
            "value": np.array([place.value for place in self.places]),
            "gradient": np.stack([place.gradient for place in self.places]),
            "factor": self.metric.factor,
            "step_size": np.array([astuple(size) for size in self.step_sizes]),
            "draws": self.draws.swapaxes(0, 1),
            "stats": self.stats.swapaxes(0, 1),
            "recent": self.recent.swapaxes(0, 1),
        }
        values = {"gradients": self.gradients, "begun": self.begun}
        return Snapshot({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}, values)

    @property
    def shapes(self) -> dict[str, torch.Tensor]:
        return {"u": torch.empty(self.options.num_chains, self.dim, dtype=torch.float64)}

    def check(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        count, dim, stats = self.options.num_chains, self.dim, len(_STATS)
        shapes = {
            "v": (count, dim),
            "value": (count,),
            "gradient": (count, dim),
            "step_size": (count, 5),
            "draws": (0, count, dim),
            "stats": (0, count, stats),
            "recent": (0, count, stats),
        }
        own = {name: torch.empty(shape, dtype=torch.float64) for name, shape in shapes.items()}
        dense = snapshot.tensors["factor"].dim() == 2
        own["factor"] = torch.empty((dim, dim) if dense else dim, dtype=torch.float64)
        check_tensors(snapshot.tensors, own)
        check_numbers(snapshot.values, "gradients", "begun")

    def load(self, snapshot: Snapshot, rows: list[dict[str, Any]]) -> None:
        found = {name: value.cpu().numpy() for name, value in snapshot.tensors.items()}
        self.metric, self.gradients = Metric(found["factor"]), snapshot.values["gradients"]
        self.begun = snapshot.values["begun"]
        parts = zip(found["v"], found["value"].tolist(), found["gradient"], strict=True)
        self.places = [Place(*each) for each in parts]
        self.step_sizes = [StepSize(row[0], int(row[1]), *row[2:]) for row in found["step_size"].tolist()]
        self.draws, self.stats, self.recent = (found[name].swapaxes(0, 1) for name in ("draws", "stats", "recent"))

    def finish(self, status: str) -> FitParts:
        u = self.draws if self.draws.shape[1] else self.metric.to_u(np.stack([p.v for p in self.places]))[:, None]
        info = {"gradients": self.gradients, "step_size": [math.exp(size.average) for size in self.step_sizes]}
        return chain_parts(
            self.program,
            self.target.log_density.density,
            torch.from_numpy(np.ascontiguousarray(u)).to(self.target.centre.device),
            self._sample_stats() if self.draws.shape[1] else None,
            info,
        )

    def _sample_stats(self) -> dict[str, torch.Tensor]:
        columns = dict(zip(_STATS, torch.from_numpy(self.stats.copy()).unbind(-1), strict=True))
        found = {name: column.long() if name in _WHOLE else column for name, column in columns.items()}
        if not self.trees:
            del found["tree_depth"]
        sizes = torch.tensor([math.exp(size.average) for size in self.step_sizes], dtype=torch.float64)
        each = sizes.unsqueeze(-1).repeat(1, self.stats.shape[1])
        return found | {"diverging": found["diverging"].bool(), "step_size": each}
