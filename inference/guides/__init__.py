"""Guides that are built from a model: by name, by autoguide class or by a function of the model."""

from __future__ import annotations

__all__ = ["GUIDES", "AutoFlow", "AutoIAF", "NormalGuide", "build_guide"]

from .build import GUIDES, build_guide
from .flow import AutoFlow
from .iaf import AutoIAF
from .normal import NormalGuide
