"""The processes of a data-parallel run, as the loop sees them; here the only one of an ordinary run."""

from __future__ import annotations

__all__ = ["Peers"]

from typing import Any


class Peers:
    """One process alone. A data-parallel run has its own (:mod:`jensen.inference.step.distributed`).

    Attributes:
        leader: whether this process shows progress and writes files.
        alone: whether it may stop between any two steps without asking.
    """

    leader = True
    alone = True

    def agree(self, answer: int) -> int:
        """The largest answer of all processes."""
        return answer

    def share(self, value: Any) -> Any:
        """The leader's `value`, in every process."""
        return value
