"""How many operations one evaluation of the pair takes: a Python loop over scalar steps shows."""

from __future__ import annotations

__all__ = ["LOOP_CURE", "MANY", "count_operations", "said_of_operations"]

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..tensors import Batch
from .program import Program
from .terms import evaluate

MANY = 1_000  # deep networks have a few hundred
LOOP_CURE = "Write the recursion without the loop, as one site or by `cumsum` and scans: docs/how-to/recursions.md."
_FEWEST_SITES = 20


class _Count(TorchDispatchMode):
    """Count the ATen operations of what runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its own compiler only to keep it from reading these lines

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


def count_operations(program: Program, batch: Batch) -> int:
    """The ATen operations of one evaluation, without gradients; 0 where the pair raises.

    Random numbers are drawn under a seed of their own.
    """
    with torch.no_grad(), _Count() as count:
        try:
            evaluate(program, batch, seed=0)
        except Exception:  # what the pair raises is for others to say
            return 0
    return count.operations


def said_of_operations(operations: int, sites: Iterable[str]) -> str:
    """What there is to say about so many, with the sites that a loop makes, if it makes any."""
    names = [name for name in sites if re.search(r"\d", name)]
    stems = Counter(re.sub(r"\d+", "", name) for name in names)
    stem, count = max(stems.items(), key=lambda item: item[1], default=("", 0))
    which = ""
    if count >= _FEWEST_SITES:
        first, second = [name for name in names if re.sub(r"\d+", "", name) == stem][:2]
        which = f" (here {count} sites, `{first}`, `{second}`, …)"
    return (
        f"One evaluation of model and guide takes {operations:,} operations, which is a Python loop over small steps "
        f"as a rule{which}: tracing and every step of a fit take time in proportion."
    )
