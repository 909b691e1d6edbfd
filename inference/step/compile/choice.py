"""How a step is run: from its graph's cost and the number of steps."""

from __future__ import annotations

__all__ = ["block_steps", "choose_backend", "choose_c", "choose_capture", "is_tiny"]

from collections.abc import Sequence

import torch

from .cost import Cost

_SECONDS_PER_NODE = 5e-6  # one ATen call from the interpreter: 1.6 to 7 us
_SECONDS_PER_FLOP = 2e-11
_SECONDS_PER_ELEMENT = 1e-10  # written by a fused kernel
_TINY_SECONDS = 1e-4
_C_SECONDS, _C_SECONDS_PER_NODE = 0.1, 1.5e-3  # of the C compiler
_COMPILE_SECONDS = 18.0  # importing Inductor and building its first kernels
_COMPILE_SECONDS_PER_NODE = 0.02
_BLOCK, _BLOCK_BYTES = 100, 2**21  # steps of one call, and what their batches and noise may take: they stay in cache


def choose_c(cost: Cost, steps: int, device: torch.device) -> bool:
    """Whether `steps` repay what writing and compiling a step in C takes."""
    return device.type == "cpu" and steps * _saved(cost) > _C_SECONDS + _C_SECONDS_PER_NODE * cost.operations


def choose_backend(cost: Cost, steps: int, device: torch.device) -> str:
    """Whether compiling pays within `steps`.

    The rule uses the graph and the number of steps only, never a clock, so that a resumed run chooses as the first did.
    Compiling saves nearly all of the interpreter's time per node, and most of the traffic of elementwise kernels.
    """
    if device.type == "cuda":
        return "cudagraph"
    compiling = _COMPILE_SECONDS + _COMPILE_SECONDS_PER_NODE * cost.operations
    return "inductor" if steps * _saved(cost) > 1.5 * compiling else "trace"


def _saved(cost: Cost) -> float:
    """Seconds by which a compiled step is shorter than an interpreted one."""
    return cost.operations * _SECONDS_PER_NODE + 4.0 * cost.elements * _SECONDS_PER_ELEMENT


def is_tiny(cost: Cost) -> bool:
    """Whether a second thread would cost more than it gives."""
    return _work(cost) < _TINY_SECONDS


def _work(cost: Cost) -> float:
    """Seconds of arithmetic in one compiled step, roughly."""
    return cost.flops * _SECONDS_PER_FLOP + cost.elements * _SECONDS_PER_ELEMENT


def block_steps(cost: Cost, rows: Sequence[torch.Tensor]) -> int:
    """How many steps to make in one call: many of tiny ones, one where the arithmetic dominates.

    Args:
        cost: of one step.
        rows: what one step has of its own.
    """
    own = sum(row.numel() * row.element_size() for row in rows)
    return max(1, min(_BLOCK, _BLOCK_BYTES // max(own, 1))) if is_tiny(cost) else 1


def choose_capture(cost: Cost, steps: int, run: int | None = None) -> int:
    """How many steps to capture in one CUDA graph: many of tiny ones, one where the arithmetic dominates.

    Args:
        cost: of one step.
        steps: the steps that are left.
        run: the most steps in a row with batches of one shape (a ragged batch ends a run), or None without limit. What
            does not fill a block runs step by step, so the length is chosen to leave little over.
    """
    if not is_tiny(cost) or cost.operations > 600:
        return 1
    limit = min(20 if _work(cost) < 2e-5 else 10, steps if run is None else min(steps, run))
    if run is None or limit < 2:
        return max(1, limit)

    def time(length: int) -> float:  # of a run, in units of a fused step: calls cost about 3, single steps about 20
        blocks, rest = divmod(run, length)
        return blocks * (length + 3) + 20 * rest

    return min(range(1, limit + 1), key=time)
