"""The broken models, loaded from the files beside this one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def broken() -> SimpleNamespace:
    """All broken models by name, imported so that their source can be read."""
    found = {}
    for stem in ("broken_guides", "broken_models"):
        spec = importlib.util.spec_from_file_location(stem, Path(__file__).with_name(f"{stem}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[stem] = module
        spec.loader.exec_module(module)
        found.update(vars(module))
    return SimpleNamespace(**found)
