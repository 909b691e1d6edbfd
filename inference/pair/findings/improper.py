"""Improper priors: a fit may have them, an evidence may not."""

from __future__ import annotations

__all__ = ["FeasibleValue", "check_improper", "is_improper"]

from collections.abc import Iterator
from typing import Any

import torch
from pyro.distributions import ImproperUniform
from pyro.poutine.messenger import Messenger
from torch.distributions import transform_to

from ..supports.support_sets import base_of
from .finding import Finding
from .pair_sites import PairSites


def is_improper(fn: Any) -> bool:
    """Whether a distribution is flat without end, so that nothing can be drawn from it."""
    return isinstance(base_of(fn), ImproperUniform)


def check_improper(pair: PairSites) -> Iterator[Finding]:
    """The mass of an improper prior is infinite, so that its bound is known up to a constant only."""
    for name, site in pair.latents.items():
        if is_improper(site["fn"]):
            yield Finding(
                "improper-prior",
                name,
                f"The prior of `{name}` is improper (ImproperUniform): bounds with it are known up to a constant only, "
                f"which a fit does not feel, and there is no evidence.",
                "For scores give it a proper prior, such as a wide Normal. Fits and posterior draws go on without.",
                stops=frozenset({"score"}),
            )


class FeasibleValue(Messenger):
    """Give latents with an improper prior some value of their support, where a program is run for its prior draws."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or msg["value"] is not None or not is_improper(msg["fn"]):
            return
        fn = msg["fn"]
        transform = transform_to(fn.support)
        msg["value"] = transform(torch.zeros(transform.inverse_shape(fn.shape())))
        msg["done"] = True
