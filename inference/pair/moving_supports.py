"""Supports that move: their bounds depend on latents or parameters, so that one look at them is not enough."""

from __future__ import annotations

__all__ = ["find_moving"]

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..tensors import Batch
from .bound_pair import BoundPair
from .eager_run import EagerRun, prior_values, run_pair
from .findings.pair_sites import Moving
from .recorded_run import moved_parameters
from .supports.support_sets import bounds_of

_GUIDE_DRAWS, _PRIOR_DRAWS = (1, 2, 3), (1, 2, 3, 4, 5, 6)
_AWAY = 0.5  # how far parameters are moved, to see whether guide and model move together


def find_moving(
    program: BoundPair, run: EagerRun, batch: Batch, args: tuple[Any, ...] = ()
) -> tuple[dict[str, Moving], tuple[EagerRun, ...]]:
    """The model's sites whose support depends on latents or parameters, and on which; most models have none.

    Continuous latents and parameters show by the gradient of the bounds, discrete ones by other draws of them.

    Returns:
        Site -> what its support depends on; and, if a latent's does, further runs in which it has moved.
    """
    if not any(_bounds(node) for node in run.model.values()):
        return {}, ()
    with torch.enable_grad():
        found = _dependent(program, run, batch, args)
    latent = any(name in run.guide for name in found)
    return found, tuple(_further_runs(program, found, batch, args)) if latent else ()


def _dependent(program: BoundPair, run: EagerRun, batch: Batch, args: tuple[Any, ...]) -> dict[str, Moving]:
    leaves = {
        name: node["value"].detach().clone().requires_grad_()
        for name, node in run.guide.items()
        if name in run.model and node["value"].is_floating_point() and not _is_discrete(run.model[name]["fn"])
    }
    again = run_pair(program, batch, args, values=leaves, grad=True)
    discrete = [name for name, node in run.model.items() if not node["is_observed"] and name not in leaves]
    kept = {name: leaf.detach() for name, leaf in leaves.items()}
    other = run_pair(program, batch, args, values=kept, seed=1).model if discrete else {}
    parameters = [p for p in program.parameters() if p.requires_grad]
    found = {}
    for name, node in again.model.items():
        ends = [end for end in _bounds(node) if end.requires_grad]
        held = [*leaves.values(), *parameters]
        slopes: Any = [None] * len(held)
        if ends and held:
            total = torch.stack([end.sum() for end in ends]).sum()
            slopes = torch.autograd.grad(total, held, allow_unused=True, retain_graph=True)
        latents = tuple(key for key, slope in zip(leaves, slopes, strict=False) if slope is not None)
        learned = any(slope is not None for slope in slopes[len(leaves) :])
        moved = name in other and not _same(_bounds(node), _bounds(other[name]))
        if latents or learned or moved:
            found[name] = Moving(latents, learned, moved)
    return found


def _further_runs(
    program: BoundPair, moving: Mapping[str, Moving], batch: Batch, args: tuple[Any, ...]
) -> Iterator[EagerRun]:
    """Other draws of the guide, draws of the prior, and other parameters if supports depend on these."""
    for seed in _GUIDE_DRAWS:
        yield run_pair(program, batch, args, seed=seed)
    for seed in _PRIOR_DRAWS:
        values = prior_values(program, batch, args, seed)
        if values is None:
            break
        yield run_pair(program, batch, args, values=values, seed=seed)
    if any(how.parameters for how in moving.values()):
        for seed in _GUIDE_DRAWS:
            with moved_parameters(program, _AWAY, seed):
                yield run_pair(program, batch, args, seed=seed)


def _is_discrete(fn: Any) -> bool:
    try:
        return bool(fn.support.is_discrete)
    except NotImplementedError:
        return False


def _bounds(node: Any) -> list[Tensor]:
    """The bounds of a site's support that are tensors of numbers, and so may depend on something."""
    try:
        ends = bounds_of(node["fn"])
    except (NotImplementedError, RuntimeError):
        return []
    return [end for end in ends or () if isinstance(end, Tensor) and end.is_floating_point()]


def _same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(
        a.shape == b.shape and torch.equal(a.detach(), b.detach()) for a, b in zip(first, second, strict=True)
    )
