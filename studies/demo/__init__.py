"""`jensen demo`: three studies on real data, and everything that is drawn from them."""

from __future__ import annotations

__all__ = ["Demo", "demo_studies", "run_demo"]

from .run import Demo, demo_studies, run_demo
