"""A small fit, saved."""

from __future__ import annotations

import pytest
from line_fits import line_fit


@pytest.fixture
def saved(tmp_path):
    """The manifest of a saved fit."""
    line_fit(options={"names": ["a"], "pair": (1, 2.5)}).save(tmp_path / "fit")
    return tmp_path / "fit" / "fit.json"
