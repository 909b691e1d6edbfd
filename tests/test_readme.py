"""The README's programs run as printed (with fewer steps), and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import jensen.inference
import jensen.models

README = (Path(__file__).parents[1] / "README.md").read_text()
SHORTER = {"steps=5_000": "steps=200", "steps=3_000": "steps=60", "range(3)": "range(1)"}


@pytest.mark.slow
def test_the_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(blocks) == 2
    names: dict[str, Any] = {"__name__": "readme"}
    for block in blocks:
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        exec(compile(block, "README.md", "exec"), names)
    assert names["fit"].posterior(10)["w"].shape == (10, 30)
    assert (tmp_path / "report.html").exists()


def test_the_models_and_objectives_of_the_tables_exist() -> None:
    rows = re.findall(r"^\| (\[?`.*?) \|", README, flags=re.M)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert {"VAE", "IWAE", "log_evidence"} <= set(named)
    for name in named:
        assert hasattr(jensen.models, name) or hasattr(jensen.inference, name), name


def test_its_picture_is_there() -> None:
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parents[1] / path).exists()
