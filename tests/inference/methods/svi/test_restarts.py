"""Several starts: each with a seed of its own, the best bound kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jensen.inference import SVI, TraceEnum_ELBO

OPTIONS: dict[str, Any] = {"steps": 30, "lr": 0.02, "log_every": 10, "device": "cpu", "compile": False}


def test_the_best_start_is_kept(mixture: Any) -> None:
    fit = SVI(TraceEnum_ELBO(), restarts=4, **OPTIONS).fit(*mixture, seed=1)
    bounds = fit.info["restart_bounds"]
    assert len(bounds) == 4
    exact = fit.model.log_evidence(mixture[1]).sum().item()
    assert max(bounds) == pytest.approx(exact, rel=1e-10)


def test_the_first_start_is_the_fit_without_restarts(mixture: Any, same: Callable[..., None]) -> None:
    alone = SVI(TraceEnum_ELBO(), **OPTIONS).fit(*mixture, seed=1)
    assert "restart_bounds" not in alone.info
    several = SVI(TraceEnum_ELBO(), restarts=3, **OPTIONS).fit(*mixture, seed=1)
    exact = alone.model.log_evidence(mixture[1]).sum().item()
    assert several.info["restart_bounds"][0] == pytest.approx(exact, rel=1e-10)
    assert max(several.info["restart_bounds"]) >= exact - 1e-9


def test_restarts_resume_and_are_returned_at_once(mixture: Any, tmp_path: Path, same: Callable[..., None]) -> None:
    svi = SVI(TraceEnum_ELBO(), restarts=3, **OPTIONS)
    whole = svi.fit(*mixture, seed=1)
    calls: list[int] = []

    def interrupt(progress: Any) -> None:
        calls.append(progress.step)
        if len(calls) == 5:  # in the middle of the second start
            raise KeyboardInterrupt

    part = svi.fit(*mixture, seed=1, checkpoint=tmp_path, callbacks=[interrupt])
    assert part.status == "interrupted"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["start-0", "start-1"]
    again = svi.fit(*mixture, seed=1, checkpoint=tmp_path)
    same(again, whole)
    assert again.info["restart_bounds"] == whole.info["restart_bounds"]
    seen: list[int] = []
    same(svi.fit(*mixture, seed=1, checkpoint=tmp_path, callbacks=[lambda p: seen.append(p.step)]), whole)
    assert not seen
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + len(whole.history)
