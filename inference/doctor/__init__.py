"""Examine a model/guide pair before any fit: what its sites are, what suits it, and every fault with its cure."""

from __future__ import annotations

__all__ = ["Finding", "ObjectiveRow", "ParameterRow", "Report", "SiteRow", "examine"]

from .examine import examine
from .report import Finding, ObjectiveRow, ParameterRow, Report, SiteRow
