"""A study that an earlier version finished is finished: its arms are found by their names, and none is run again."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from jensen.inference import EM, SVI, TraceEnum_ELBO, elbo_terms, load, log_evidence
from jensen.models import GaussianMixture
from jensen.studies import Study


def test_no_finished_arm_is_run_again(tmp_path):
    shutil.copytree(Path(__file__).with_name("saved_before"), tmp_path / "runs")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.*")}
    torch.manual_seed(0)
    x = torch.randn(40, 4)
    torch.manual_seed(1)
    study = Study(
        "mixtures",
        model=GaussianMixture(2, 4),
        data={"x": x},
        methods={"em": EM(steps=4), "svi": SVI(TraceEnum_ELBO(), steps=10)},
        metrics=[log_evidence, elbo_terms],
        seeds=[0],
    )
    frame = study.run(tmp_path / "runs").frame
    assert list(frame["status"]) == ["finished", "finished"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    fits = [load(path.parent) for path in before if path.name == "fit.json"]
    assert [type(fit.model) for fit in fits] == [GaussianMixture, GaussianMixture]
