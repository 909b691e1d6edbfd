"""Steps by the program itself: gradients at the present state, on the batch and noise of a step, and the update."""

from __future__ import annotations

__all__ = ["EagerSteps"]

from typing import Any

import torch

from ..data.feed import Feed
from ..seeding import derive_seed
from ..tensors import TensorList
from .function import Gradients, StepFunction, StepInputs, StepNoise
from .noise_source import NoiseSource
from .schedules import StepSchedules
from .shard import Shard
from .state import StepState
from .torch_optim import has_hooks
from .update import OptimizerState, Update


class EagerSteps:
    """Steps of one fit by the program itself, and what a trace of them starts from. Abstract: fits use `Engine`.

    Args:
        function: the step's gradient.
        update: the optimiser's update.
        feed: the data.
        seed: the run's seed.
        schedule: annealing weights and learning rates, of all the run's steps; its device and number type are the
            noise's.
        shard: this process's part of a data-parallel run, or None.
    """

    def __init__(
        self,
        function: StepFunction,
        update: Update,
        feed: Feed,
        *,
        seed: int,
        schedule: StepSchedules,
        shard: Shard | None = None,
    ) -> None:
        self.function, self.update, self.feed = function, update, feed
        self.seed, self.schedule, self.shard = seed, schedule, shard
        self.steps, self.device, self.dtype = schedule.steps, schedule.device, schedule.dtype
        batch = feed.batch(0)
        program, transform = function.layouts(batch)
        self.opaque = bool(program.opaque or transform.opaque)
        self.private = [*program.private, *transform.private]
        particles = function.objective.num_particles
        if shard is not None:
            self.noise: Any = shard.noise(
                seed, particles, function, feed, (program, transform), self.dtype, self.device
            )
        else:
            self.noise = NoiseSource(seed, particles, program, transform, self.dtype, self.device)
        self._noise_batch = len(next(iter(batch.values()))) if batch else 0
        self._ragged_noise: dict[int, Any] = {}
        parameters = function.initial()
        average = [torch.zeros_like(p) for p in parameters] if update.average is not None else []
        self.state = StepState(parameters, [], average, [b.detach().clone() for b in function.buffers.values()])
        self._keys: tuple[tuple[int, str], ...] = ()
        self._optimizer: torch.optim.Optimizer | None = None
        self._live: TensorList = []
        self.update_graph: torch.fx.GraphModule | None = None
        self._untraceable_optimizer = False
        self.restless: list[str] = []  # paths of what a run changes in Python

    @property
    def optimizer_keys(self) -> tuple[tuple[int, str], ...]:
        """What each tensor of ``state.optimizer`` is: (parameter index, entry name)."""
        return self._keys

    def load(self, state: StepState, keys: tuple[tuple[int, str], ...]) -> None:
        """Go on from a stored state."""
        self.state, self._keys = state.clone(), keys
        self._optimizer = None

    def _live_optimizer(self) -> torch.optim.Optimizer:
        present = self.state.parameters
        if self._optimizer is None or any(p is not q for p, q in zip(self._live, present, strict=True)):
            self._live = parameters = [p.detach().clone() for p in self.state.parameters]
            self._optimizer = self.update.optimizer(parameters, self.update.lr)
            self.update.restore(
                self._optimizer, parameters, OptimizerState(self._keys, [t.clone() for t in self.state.optimizer])
            )
            self.state = self.state.with_tensors([*parameters, *self.state.tensors[len(parameters) :]])
        return self._optimizer

    def noise_of(self, step: int, size: int) -> StepNoise:
        """The noise of one step, for a batch of `size`."""
        return StepNoise(*(tensor[0] for tensor in self._noise_block(step, 1, size)))

    def _noise_block(self, start: int, count: int, size: int) -> tuple[torch.Tensor, ...]:
        """Noise rows for batches of `size`; a ragged batch has a layout, and a stream of noise, of its own."""
        if self.shard is not None or size == self._noise_batch:
            return self.noise.block(start, count)  # type: ignore[no-any-return]
        if size not in self._ragged_noise:
            program, transform = self.function.layouts(self.feed.batch(start))
            seed, particles = derive_seed(self.seed, "ragged", size), self.function.objective.num_particles
            self._ragged_noise[size] = NoiseSource(seed, particles, program, transform, self.dtype, self.device)
        return self._ragged_noise[size].block(start, count)  # type: ignore[no-any-return]

    def gradients(self, step: int, state: StepState | None = None, *, annealed: bool = True) -> Gradients:
        """The eager gradients of one step, as the fit would see them (or with the schedule's final weight)."""
        state = state or self.state
        out = self.function(state.parameters, state.buffers, self.inputs(step, annealed))
        return self.shard.reduce(out) if self.shard is not None else out

    def inputs(self, step: int, annealed: bool = True) -> StepInputs:
        """Batch, noise and annealing weight of one step, to be called right before the program runs."""
        batch, (weights, _) = self.feed.batch(step), self.schedule(step if annealed else self.steps - 1, 1)
        noise = self.noise_of(step, len(next(iter(batch.values()))))
        self.seed_opaque(step)  # last, for the layout of a new size is found by running the program
        return StepInputs(batch, noise, weights[0])

    def seed_opaque(self, step: int) -> None:
        """Seed the generator for draws that cannot be lifted out of the step."""
        if self.opaque:
            names = () if self.shard is None else (self.shard.rank,)  # each process draws for data of its own
            torch.manual_seed(derive_seed(self.seed, "step", step, *names))

    def apply(self, step: int, out: Gradients) -> torch.Tensor:
        """Update the state by the gradients of `step`, with the real optimiser; returns the bounds ``(2,)``."""
        optimizer = self._live_optimizer()
        if self.schedule.rates.changes:
            for group in optimizer.param_groups:
                group["lr"] = self.schedule.rate(step)
        parameters, average = self.state.parameters, self.state.average
        self.update.step(optimizer, parameters, out.gradients, average)
        found = self.update.state_of(optimizer, parameters)
        if has_hooks(optimizer):  # which a trace would run once
            self._untraceable_optimizer = True
        if found is None:
            self._untraceable_optimizer = True
            found = OptimizerState((), [])
        self._keys = found.keys
        self.state = StepState(parameters, found.tensors, average, out.buffers)
        return out.bounds
