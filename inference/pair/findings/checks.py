"""The list of checks of a pair's sites, in the order in which a reader wants to mend what they find."""

from __future__ import annotations

__all__ = ["CHECKS", "find"]

from collections.abc import Callable, Iterator

from .auxiliary import check_auxiliary
from .counting import check_counting
from .finding import Finding
from .improper import check_improper
from .masks import check_masks
from .masses import check_masses
from .names import check_names
from .observed import check_observed
from .pair_sites import PairSites
from .plates import check_plates
from .scales import check_scales
from .shapes import check_shapes, check_widths
from .supports import check_supports

CHECKS: tuple[Callable[[PairSites], Iterator[Finding]], ...] = (
    check_names,
    check_plates,
    check_shapes,
    check_widths,
    check_observed,
    check_supports,
    check_masks,
    check_improper,
    check_masses,
    check_scales,
    check_counting,
    check_auxiliary,
)


def find(pair: PairSites) -> list[Finding]:
    """Everything that the sites of a pair show to be wrong, each thing once."""
    found: dict[Finding, None] = {}
    for check in CHECKS:
        found.update(dict.fromkeys(check(pair)))
    return list(found)
