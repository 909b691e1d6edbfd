"""One eager, validated run of a pair, that changes nothing: the sites of both programs."""

from __future__ import annotations

__all__ = ["EagerRun", "kept_buffers", "prior_values", "run_pair"]

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor, nn

from ..tensors import Batch, Tensors
from .bound_pair import BoundPair
from .findings.masks import masked_and_used
from .findings.pair_sites import class_name, is_ignored, still_points
from .messengers.substitute import Substitute


@dataclass(frozen=True)
class EagerRun:
    """Pyro's messages of both programs' sites with a density, in order; the rows of each plate in both; the latents
    that the guide puts at the same point in every run; and those of which masked values are used."""

    model: dict[str, Any]
    guide: dict[str, Any]
    model_rows: Tensors
    guide_rows: Tensors
    still: frozenset[str] = frozenset()
    used_masked: tuple[str, ...] = ()


def run_pair(
    program: BoundPair,
    batch: Batch,
    args: tuple[Any, ...] = (),
    *,
    values: Batch | None = None,
    seed: int = 0,
    grad: bool = False,
) -> EagerRun:
    """Run guide and model once, with Pyro's validation on.

    Args:
        program: the pair.
        batch, args: what both are given.
        values: latents to take instead of the guide's draws.
        seed: of the draws; the caller's generator is left alone.
        grad: whether gradients are kept.
    """
    given = _GivenRows()
    with _quietly(program, batch, args, seed, grad):
        with Substitute(values or {}):
            guide_trace = poutine.trace(program.guide).get_trace(*args, **batch)
        replayed = poutine.replay(given(program.model), trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*args, **batch)
        used_masked = masked_and_used(program.model, model_trace, args, batch)
        still: frozenset[str] = frozenset()
        guide = _with_density(guide_trace)
        if any(class_name(node["fn"]) == "Delta" for node in guide.values()):
            torch.manual_seed(seed + 1)
            still = still_points(guide, _with_density(poutine.trace(program.guide).get_trace(*args, **batch)))
    chosen = {name: torch.as_tensor(guide_trace.nodes[name]["value"]) for name in given.rows if name in guide_trace}
    return EagerRun(_with_density(model_trace), guide, given.rows, chosen, still, tuple(used_masked))


def prior_values(program: BoundPair, batch: Batch, args: tuple[Any, ...], seed: int) -> Tensors | None:
    """A draw of the model's latents from their prior, or None if one cannot be drawn."""
    try:
        with _quietly(program, batch, args, seed, False):
            trace = poutine.trace(program.model).get_trace(*args, **batch)
    except NotImplementedError:
        return None
    return {name: site["value"] for name, site in _with_density(trace).items() if not site["is_observed"]}


def _with_density(trace: Any) -> dict[str, Any]:
    return {name: site for name, site in trace.nodes.items() if not is_ignored(site)}


@contextmanager
def _quietly(program: BoundPair, batch: Batch, args: tuple[Any, ...], seed: int, grad: bool) -> Iterator[None]:
    cuda = {v.device for v in [*batch.values(), *args] if isinstance(v, Tensor) and v.is_cuda}
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=list(cuda)))
        stack.enter_context(program.environment())
        stack.enter_context(pyro.validation_enabled(True))
        stack.enter_context(torch.set_grad_enabled(grad))
        torch.manual_seed(seed)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)
        stack.enter_context(poutine.block(hide_fn=lambda msg: msg["type"] == "sample"))
        stack.enter_context(kept_buffers(program))
        yield


class _GivenRows(Messenger):
    """Note the rows that a program gives to its plates, before a replay puts the guide's in their place."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Tensors = {}

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], _Subsample) and msg["value"] is not None:
            self.rows[msg["name"]] = torch.as_tensor(msg["value"])


@contextmanager
def kept_buffers(module: nn.Module) -> Iterator[None]:
    """Running statistics of the networks are afterwards what they were."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
