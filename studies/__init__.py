"""Comparative inference studies: run every arm once, keep it on disk, score all arms by the same code, report."""

from __future__ import annotations

__all__ = ["Arm", "Fits", "Study", "StudyResult", "fingerprint"]

from .arms.arm import Arm
from .arms.fingerprint import fingerprint
from .result import Fits, StudyResult
from .study import Study
