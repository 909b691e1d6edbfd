"""Distributions that were built before a fit, such as a `PyroSample`'s prior, follow the fit's own validation."""

from __future__ import annotations

__all__ = ["Unvalidated"]

import copy
from typing import Any

from pyro.poutine.messenger import Messenger


class Unvalidated(Messenger):
    """Puts a copy that does not look at values in the place of a distribution that was made to.

    ``dist.Normal(0.0, 1.0).expand([3])`` keeps the validation that was on when it was built, whatever is set when it is
    scored: it would then read values at every step, which costs a synchronisation and keeps the step from being traced.
    """

    def _pyro_sample(self, msg: Any) -> None:
        msg["fn"] = _unvalidated(msg["fn"])


def _unvalidated(fn: Any) -> Any:
    held = getattr(fn, "__dict__", {})
    base = held.get("base_dist")
    inner = base if base is None else _unvalidated(base)
    if not held.get("_validate_args") and inner is base:
        return fn
    other = copy.copy(fn)
    other._validate_args = False
    if inner is not base:
        other.base_dist = inner
    return other
