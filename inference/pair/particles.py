"""Run a function once per particle: vectorised where the program allows it."""

from __future__ import annotations

__all__ = ["map_particles"]

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import JensenError
from ..tensors import Tensors
from ..warn import warn_user
from .bound_pair import BoundPair
from .randomness.noise import Noise, NoiseLayout, record_noise, replay_noise, vmap_safe_noise
from .vmap.autograd_functions import autograd_functions
from .vmap.bernoulli import bernoulli_terms
from .vmap.dirichlet import simplex_draws
from .vmap.masked_assignment import masked_assignment
from .vmap.refusals import said_of_loop


def map_particles(
    program: BoundPair,
    function: Callable[..., Tensors],
    num_particles: int,
    noise: Noise | NoiseLayout | None,
    given: Tensors,
) -> Tensors:
    """Run `function` once per particle: directly, under vmap, or (if vmap cannot run it) in a loop."""
    if isinstance(noise, NoiseLayout):
        with record_noise(noise):
            row = function({name: value[0] for name, value in given.items()})
        return {name: value.unsqueeze(0) for name, value in row.items()}
    drawn = noise is None
    if noise is None:
        empty = next(iter(given.values())).new_empty(num_particles, 0) if given else torch.empty(num_particles, 0)
        noise = Noise(empty, empty)

    def one(normal: torch.Tensor, uniform: torch.Tensor, values: Tensors) -> Tensors:
        with vmap_safe_noise() if drawn else replay_noise(normal, uniform):
            return function(values)

    def together(normal: torch.Tensor, uniform: torch.Tensor, values: Tensors) -> Tensors:
        with autograd_functions(normal):
            return one(normal, uniform, values)

    if num_particles == 1:
        with bernoulli_terms():
            row = one(noise.normal[0], noise.uniform[0], {name: value[0] for name, value in given.items()})
        return {name: value.unsqueeze(0) for name, value in row.items()}
    refused: Exception | None = None
    if not program.loop_over_particles:
        try:
            with _quiet_fallbacks(), simplex_draws(), bernoulli_terms(), masked_assignment():
                return torch.vmap(together, randomness="different")(noise.normal, noise.uniform, given)
        except (JensenError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # vmap refuses in many words, and what stops the program itself stops the loop too
            refused = error
    rows = [
        one(noise.normal[k], noise.uniform[k], {name: value[k] for name, value in given.items()})
        for k in range(num_particles)
    ]
    if refused is not None:
        program.loop_over_particles = True
        warn_user(said_of_loop(refused))
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@contextmanager
def _quiet_fallbacks() -> Iterator[None]:
    """No advice from torch about operations that it vectorises with a loop (such as those of a Gamma's draws)."""
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
    functorch._set_vmap_fallback_warning_enabled(False)
    try:
        yield
    finally:
        functorch._set_vmap_fallback_warning_enabled(True)
