"""The how-to pages run as printed: what they say is equal is equal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

from jensen.inference.doctor import examine

FOLDER = Path(__file__).parents[1] / "docs" / "how-to"
PAGES = sorted(page.name for page in FOLDER.glob("*.md"))


def names_of(page: str) -> dict[str, Any]:
    """The page's programs, run one after the other."""
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": page}
    for block in re.findall(r"```python\n(.*?)```", (FOLDER / page).read_text(), flags=re.S):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.parametrize("page", PAGES)
def test_it_runs(page: str) -> None:
    dtype = torch.get_default_dtype()
    try:
        assert "```python" in (FOLDER / page).read_text()
        names_of(page)
    finally:
        torch.set_default_dtype(dtype)
        pyro.clear_param_store()


def test_the_doctor_tells_a_loop_from_a_scan() -> None:
    names = names_of("recursions.md")
    reports = {name: examine(names[name], data={"y": torch.randn(150)}) for name in ("garch_loop", "garch_scan")}
    found = {
        name: [note for note in report.notes if note.code == "many-operations"] for name, report in reports.items()
    }
    assert not found["garch_scan"]
    assert "docs/how-to/recursions.md" in found["garch_loop"][0].cure
