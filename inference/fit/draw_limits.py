"""Refuse more draws than any memory of this machine holds, before the first is made."""

from __future__ import annotations

__all__ = ["refuse_too_many"]

import os
from collections.abc import Callable, Mapping

from torch import Tensor

from ..errors import ConfigurationError

_ALWAYS_FEW = 100_000


def refuse_too_many(num: int, one: Callable[[], Mapping[str, Tensor]]) -> None:
    """Check that `num` times what `one` returns, a single draw, fits into the machine's memory.

    Raises:
        ConfigurationError: if it does not.
    """
    if num <= _ALWAYS_FEW:
        return
    needed = num * sum(value.numel() * value.element_size() for value in one().values())
    if needed > (held := _memory()):
        raise ConfigurationError(
            f"`num` is {num:,}: so many draws take {needed / 2**30:,.0f} GiB, and this machine has "
            f"{held / 2**30:,.0f}. Ask for fewer, or for several lots with different `seed`."
        )


def _memory() -> int:
    """Bytes of memory of this machine, or a large number where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**44
