"""The command line: each command does its work, and wrong words are one line and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from jensen.studies.cli import main

STUDY = """
from jensen.datasets import iris
from jensen.inference import SVI, TraceEnum_ELBO, log_evidence
from jensen.models import GaussianMixture
from jensen.studies import Study

study = Study(
    "iris",
    model={k: GaussianMixture(k, 4) for k in (2, 3)},
    data=iris().select("x"),
    methods={"enumerated": SVI(TraceEnum_ELBO(), steps=5, lr=1e-2, compile=False)},
    metrics=[log_evidence],
    seeds=[0],
)
also = study
"""

BROKEN = """
import pyro, torch
import pyro.distributions as dist
from jensen.models import LatentVariableModel

class Mean(LatentVariableModel):
    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(m, 1.0), obs=x)

class LacksASite(Mean):
    def guide(self, x=None):
        pass
"""


def call(*words: object) -> int:
    """Run the command and return its exit code."""
    try:
        main([str(word) for word in words])
    except SystemExit as done:
        return int(done.code or 0)
    return 0


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_fit_prints_scores_and_saves(folder, capsys):
    words = ["--objective", "TraceEnum_ELBO", "--set", "num_components=3", "--steps", 5, "--compile", "off"]
    assert call("fit", "GaussianMixture", "--data", "wine", *words, "--particles", 50, "--out", "out/fit") == 0
    shown = capsys.readouterr().out
    assert "log evidence: " in shown
    assert "nats per datum" in shown
    assert "out/fit" in shown

    from jensen.inference import load

    assert load(folder / "out" / "fit").data_size == 178


def test_fit_of_a_users_model_on_a_csv_file(folder, capsys):
    (folder / "mine.py").write_text(BROKEN)
    (folder / "table.csv").write_text("value\n" + "\n".join(str(0.1 * k) for k in range(20)))
    (folder / "flat.npz").touch()
    import numpy

    numpy.savez(folder / "flat.npz", x=numpy.linspace(0, 1, 20))
    options = ["--steps", 5, "--compile", "off", "--particles", 0, "--guide", "normal"]
    assert call("fit", "mine.py:Mean", "--data", "flat.npz", *options) == 0
    assert "runs/fit/Mean-flat" in capsys.readouterr().out
    assert (folder / "runs" / "fit" / "Mean-flat").is_dir()


def test_numbers_of_a_file_are_scaled_before_they_are_rounded(folder, capsys):
    import torch

    from jensen.inference import load

    seconds = 1.7e9 + torch.tensor([0.0, 60.0]).repeat(50).double() + 0.1 * torch.arange(100)
    (folder / "clock.csv").write_text("when\n" + "\n".join(f"{value:.3f}" for value in seconds.tolist()))
    words = ["fit", "GaussianMixture", "-d", "clock.csv", "-s", "num_components=2", "--particles", 0, "--out", "run"]
    svi = ["--objective", "TraceEnum_ELBO", "--steps", 2, "--compile", "off"]
    assert call(*words, *svi) == 2
    assert "column 0 of `x` would lose what sets its values apart" in capsys.readouterr().err
    assert call(*words, *svi, "--standardize") == 0
    kept = load(folder / "run").data["x"]
    expected = (seconds - seconds.mean()) / seconds.std(correction=0)
    torch.testing.assert_close(kept[:, 0], expected.float(), rtol=0, atol=1e-6)
    assert call(*words, *svi, "--dtype", "float64") == 0
    assert load(folder / "run").info["dtype"] == "float64"
    assert call(*words, *svi, "--dtype", "float63") == 2
    assert "Did you mean `float64`" in capsys.readouterr().err


def test_a_study_in_a_file_is_run_once_and_reported(folder, capsys):
    (folder / "compare.py").write_text(STUDY)
    assert call("study", "run", "compare.py", "--report", "page.html") == 0
    shown = capsys.readouterr().out
    assert shown.count("enumerated") == 2
    assert (folder / "page.html").stat().st_size > 10_000
    arm = folder / "runs" / "iris" / "2" / "enumerated" / "seed-0" / "arm.json"
    written = arm.stat().st_mtime_ns
    assert call("study", "run", "compare.py") == 0
    assert arm.stat().st_mtime_ns == written
    assert call("study", "report", "compare.py", "--report", "again.html") == 0
    assert (folder / "again.html").is_file()
    assert call("study", "report", "compare.py", "--out", "elsewhere") == 2
    assert "expected finished arms" in capsys.readouterr().err


def test_doctor_finds_the_fault_and_says_so_by_its_exit_code(folder, capsys):
    (folder / "mine.py").write_text(BROKEN)
    assert call("doctor", "mine.py:Mean") == 0
    capsys.readouterr()
    assert call("doctor", "mine.py:LacksASite") == 1
    assert "`m`" in capsys.readouterr().out


def test_list_knows_every_kind(capsys):
    assert call("list") == 0
    shown = capsys.readouterr().out
    for name in ("GaussianMixture", "SVI", "IWAE", "lowrank", "log_evidence", "breast_cancer"):
        assert name in shown
    assert call("list", "objectives") == 0
    assert "GaussianMixture" not in capsys.readouterr().out


def test_version_and_help(capsys):
    assert call("--version") == 0
    assert "jensen 0." in capsys.readouterr().out
    assert call("fit", "--help") == 0
    assert "--batch-size" in capsys.readouterr().out


WRONG = {
    "unknown model": (["fit", "GausianMixture", "-d", "wine"], "Did you mean `GaussianMixture`"),
    "unknown data": (["fit", "GaussianMixture", "-d", "wien"], "Did you mean `wine`"),
    "missing file": (["fit", "GaussianMixture", "-d", "x.csv"], "there is no such file"),
    "missing option": (["fit", "GaussianMixture", "-d", "wine"], "`num_components` of GaussianMixture has no default"),
    "unknown objective": (
        ["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2", "--objective", "TraceEnumELBO"],
        "Did you mean `TraceEnum_ELBO`",
    ),
    "objective's argument": (
        ["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2", "--objective", "IWAE(particles=3)"],
        "IWAE(num_particles",
    ),
    "code as objective": (
        ["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2", "--objective", "__import__('os')"],
        "`__import__` is no objective",
    ),
    "steps": (["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2", "--steps", "-1"], "`steps`"),
    "device": (["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2", "--device", "cdua"], "device"),
    "target": (["fit", "BayesianLogisticRegression", "-d", "points.csv"], "Give the column with --target"),
    "kind": (["list", "modells"], "Did you mean `models`"),
    "study file": (["study", "run", "points.csv"], "expected a Python file that defines a Study"),
    "no study": (["study", "run", "empty.py"], "found none"),
    "folder": (
        ["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2", "--out", "points.csv/x"],
        "points.csv",
    ),
    "study's folder": (["study", "run", "small.py", "--out", "points.csv/x"], "points.csv"),
    "unknown command": (["fitt"], "No such command"),
    "unknown flag": (["demo", "--quik"], "No such option"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_wrong_words_are_one_clear_line(words, message, folder, capsys):
    (folder / "points.csv").write_text("a,b\n1,2\n3,4\n")
    (folder / "empty.py").write_text("")
    (folder / "small.py").write_text(STUDY)
    assert call(*words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
