"""Draws made outside of sample sites, kept so that a second run draws the very same."""

from __future__ import annotations

__all__ = ["Tape"]

from typing import Any

import torch
from pyro.poutine.messenger import Messenger

from ...errors import ModelError
from .draws import present_draws


class Tape(Messenger):
    """Keep the draws of the program that runs inside, or give those of an earlier run back.

    A sample site's own draws are not on it: what a site draws is its value, which a second run is given. Dropout,
    `torch.randn` and the like are.

    Args:
        values: the draws of the earlier run, in order; None to keep those of this one.

    Raises:
        ModelError: if the second run draws more than the first one did.
    """

    def __init__(self, values: list[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.values: list[torch.Tensor] = [] if values is None else values
        self._replays, self._position, self._sites = values is not None, 0, 0

    def __enter__(self) -> Any:
        self._draws, self._before = present_draws(), present_draws().tape
        self._draws.tape = self
        return super().__enter__()

    def __exit__(self, *exception: Any) -> Any:
        self._draws.tape = self._before
        return super().__exit__(*exception)

    def _pyro_sample(self, msg: Any) -> None:
        self._sites += 1

    def _pyro_post_sample(self, msg: Any) -> None:
        self._sites -= 1

    @property
    def gives(self) -> bool:
        """Whether the next draw comes from the tape."""
        return self._replays and self._sites == 0

    def keep(self, value: torch.Tensor) -> None:
        """Note a draw."""
        if self._sites == 0 and not self._replays:
            self.values.append(value)

    def next(self) -> torch.Tensor:
        """The next draw of the earlier run."""
        if self._position == len(self.values):
            raise ModelError(
                f"The guide drew {len(self.values)} times outside of its sample sites when it was run, and more often "
                f"when it was run again to be scored. Let it draw the same number of times at every run."
            )
        self._position += 1
        return self.values[self._position - 1]
