"""How many operations one evaluation of the pair takes: a Python loop over scalar steps shows."""

from __future__ import annotations

__all__ = ["check_operations"]

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..pair.terms import evaluate
from .case import Examination

_MANY = 1_000  # deep networks have a few hundred


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


def check_operations(case: Examination) -> None:
    """Note that the pair takes thousands of operations, as a recursion written as a Python loop does."""
    if case.structure is None:
        return
    with torch.no_grad(), _Count() as count:
        try:
            evaluate(case.program, case.batch, seed=0)
        except Exception:  # what the pair raises is for other checks to say
            return
    if count.operations >= _MANY:
        case.note(
            "many-operations",
            "",
            f"One evaluation of model and guide takes {count.operations:,} operations, which is a Python loop over "
            f"small steps as a rule: tracing and every step of a fit take time in proportion.",
            "Write the recursion without the loop, as one site or by `cumsum` and scans: docs/how-to/recursions.md.",
        )
