"""Findings: what is wrong with a pair and what to change, one list for fits, scores, draws and the doctor."""

from __future__ import annotations

__all__ = [
    "ALL_USES",
    "Finding",
    "Moving",
    "PairSites",
    "class_name",
    "data_frames",
    "find",
    "in_data_plate",
    "raise_first",
]

from .checks import find
from .finding import ALL_USES, Finding, raise_first
from .pair_sites import Moving, PairSites, class_name, data_frames, in_data_plate
