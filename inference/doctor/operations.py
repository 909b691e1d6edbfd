"""Note that the pair takes thousands of operations, as a recursion written as a Python loop does."""

from __future__ import annotations

__all__ = ["check_operations"]

from ..pair.operations import LOOP_CURE, MANY, count_operations, said_of_operations
from .case import Examination


def check_operations(case: Examination) -> None:
    """Count them, where the pair can be run."""
    if case.structure is None:
        return
    operations = count_operations(case.program, case.batch)
    if operations >= MANY:
        case.note("many-operations", "", said_of_operations(operations, case.structure.sites), LOOP_CURE)
