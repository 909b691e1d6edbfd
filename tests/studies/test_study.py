"""Studies: every arm once, everything on disk, failures as rows, one code that scores."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from jensen.inference.errors import ConfigurationError


def test_every_arm_is_run_scored_and_kept(study, runs, tmp_path):
    result = study().run(tmp_path / "runs")

    frame = result.frame
    assert list(frame["status"]) == ["finished"] * 4
    assert list(zip(frame["method"], frame["seed"], strict=True)) == [("one", 0), ("two", 0), ("one", 1), ("two", 1)]
    assert list(frame["log_evidence_per_datum"]) == [-1.0, -2.0, -1.0, -2.0]
    assert frame["log_evidence_stderr"].tolist() == pytest.approx([0.1] * 4)
    assert list(frame["pareto_k"]) == [0.3] * 4
    assert list(frame["bound_per_datum"]) == [-1.0, -2.0, -1.0, -2.0]
    assert list(frame["steps_per_second"]) == [30.0] * 4
    folder = tmp_path / "runs" / "fakes" / "Net" / "one" / "seed-0"
    assert sorted(path.name for path in folder.iterdir()) == ["arm.json", "fit", "scores.json"]
    assert result.fits["Net", "two", 1].value == -2.0
    assert len(runs()) == 4


def test_finished_arms_are_not_run_again(study, runs, tmp_path):
    first = study().run(tmp_path / "runs").frame
    second = study().run(tmp_path / "runs").frame

    assert len(runs()) == 4
    assert first.equals(second)


def test_only_the_arm_whose_configuration_changed_is_run_again(study, fake, runs, tmp_path):
    study().run(tmp_path / "runs")
    log = str(tmp_path / "log")
    changed = {"one": fake.Method(-1.0, log), "two": fake.Method(-2.5, log)}

    frame = study(methods=changed).run(tmp_path / "runs").frame

    assert runs()[4:] == ["-2.5 0", "-2.5 1"]
    assert list(frame["log_evidence_per_datum"]) == [-1.0, -2.5, -1.0, -2.5]


@pytest.mark.parametrize("part", ["data", "model"])
def test_other_data_or_another_model_are_fitted_anew(study, fake, runs, tmp_path, part):
    study().run(tmp_path / "runs")
    changed = {"data": {"data": {"x": torch.ones(10, 2)}}, "model": {"model": fake.Net(3)}}[part]
    study(**changed).run(tmp_path / "runs")
    assert len(runs()) == 8


def test_other_metrics_score_the_stored_fits(study, fake, runs, tmp_path):
    study().run(tmp_path / "runs")

    def twice(fit, data, *, seed):
        return 2 * fit.value

    frame = study(metrics={"twice": twice}).run(tmp_path / "runs").frame

    assert len(runs()) == 4
    assert list(frame["twice"]) == [-2.0, -4.0, -2.0, -4.0]
    assert "log_evidence_per_datum" not in frame


def test_a_failed_arm_is_a_row_that_says_why_and_is_tried_again(study, fake, runs, tmp_path):
    log = str(tmp_path / "log")
    methods = {"bad": fake.Method(fail="`lr` must be positive", log=log), "good": fake.Method(log=log)}
    result = study(methods=methods, seeds=[0]).run(tmp_path / "runs")

    frame = result.frame
    assert list(frame["status"]) == ["failed", "finished"]
    assert frame["error"][0] == "ValueError: `lr` must be positive"
    assert math.isnan(frame["log_evidence_per_datum"][0])
    assert "`lr` must be positive" in repr(result)
    assert [record.method for record in result.failed] == ["bad"]
    assert list(result.fits) == [("Net", "good", 0)]
    error = tmp_path / "runs" / "fakes" / "Net" / "bad" / "seed-0" / "error.txt"
    assert "Traceback" in error.read_text()

    assert study(methods=methods, seeds=[0]).load(tmp_path / "runs").frame.equals(frame)
    study(methods=methods, seeds=[0]).run(tmp_path / "runs")
    assert len(runs()) == 3


def test_a_metric_that_fails_leaves_the_fit_and_the_other_scores(study, fake, tmp_path):
    def broken(fit, data, *, seed):
        raise RuntimeError("no guide")

    frame = study(metrics=[broken, fake.log_evidence], seeds=[0]).run(tmp_path / "runs").frame
    assert list(frame["status"]) == ["finished"] * 2
    assert frame["error"][0] == "broken: RuntimeError: no guide"
    assert frame["log_evidence_per_datum"][0] == -1.0


@pytest.mark.parametrize("how", ["raise", "return"])
def test_ctrl_c_keeps_what_is_finished_and_the_rest_runs_later(study, fake, runs, tmp_path, how):
    log = str(tmp_path / "log")
    methods = {"first": fake.Method(log=log), "second": fake.Method(interrupt=how, log=log)}
    methods["third"] = fake.Method(log=log)
    result = study(methods=methods, seeds=[0]).run(tmp_path / "runs")
    frame = result.frame
    assert list(frame["status"]) == ["finished", "interrupted", "not run"]
    assert result.interrupted
    assert len(runs()) == 2

    methods["second"] = fake.Method(log=log, value=-3.0)
    frame = study(methods=methods, seeds=[0]).run(tmp_path / "runs").frame
    assert list(frame["status"]) == ["finished"] * 3
    assert len(runs()) == 4


def test_an_arm_that_was_cut_short_is_run_again(study, runs, tmp_path):
    study().run(tmp_path / "runs")
    folder = tmp_path / "runs" / "fakes" / "Net" / "one" / "seed-0"
    arm = json.loads((folder / "arm.json").read_text())
    (folder / "arm.json").write_text(json.dumps(arm | {"status": "running"}))
    (tmp_path / "runs" / "fakes" / "Net" / "two" / "seed-1" / "scores.json").write_text('{"scores": {"log')

    frame = study().run(tmp_path / "runs").frame

    assert list(frame["status"]) == ["finished"] * 4
    assert runs()[4:] == ["-1.0 0"]  # the arm without readable scores is scored, not fitted


def test_load_reads_what_is_finished_and_runs_nothing(study, runs, tmp_path):
    assert list(study().load(tmp_path / "runs").frame["status"]) == ["not run"] * 4
    assert runs() == []
    study(seeds=[0]).run(tmp_path / "runs")
    assert list(study().load(tmp_path / "runs").frame["status"]) == ["finished"] * 2 + ["not run"] * 2


def test_models_with_their_own_data_and_methods(study, fake, tmp_path):
    made = study(
        model={"small": fake.Net(2), "large": lambda: fake.Net(3)},
        data={"small": {"x": torch.zeros(4, 2)}, "large": {"x": torch.zeros(6, 3)}},
        methods={"small": {"a": fake.Method(-1.0)}, "large": {"b": fake.Method(-2.0), "c": fake.Method(-3.0)}},
        seeds=[7],
    )
    frame = made.run(tmp_path / "runs").frame
    assert list(zip(frame["model"], frame["method"], strict=True)) == [("small", "a"), ("large", "b"), ("large", "c")]
    assert [fit.data_size for fit in made.load(tmp_path / "runs").fits.values()] == [4, 6, 6]


def test_a_factory_is_built_under_the_seed_of_its_arm(study, tmp_path):
    class Random(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(3))

    one, two = study(model=Random, methods={"a": study().methods["one"]}).arms()
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert torch.equal(one.build_model().weight, one.build_model().weight)
    assert not torch.equal(one.build_model().weight, two.build_model().weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_scores_are_taken_on_the_split_that_is_asked_for(study, tmp_path):
    @dataclass(frozen=True)
    class Splits:
        train: dict
        test: dict

    def size(fit, data, *, seed):
        return len(data["x"])

    data = Splits({"x": torch.zeros(8, 2)}, {"x": torch.zeros(3, 2)})
    for score_on, expected in (("train", 8), ("test", 3)):
        frame = study(data=data, metrics=[size], score_on=score_on, seeds=[0]).run(tmp_path / "runs").frame
        assert list(frame["size"]) == [expected] * 2
    with pytest.raises(ConfigurationError, match="`score_on`: expected a split that the data has, got `validation`"):
        study(data=data, score_on="validation").run(tmp_path / "runs")


def test_arms_run_in_processes_of_their_own(repository, tmp_path):
    pytest.importorskip("joblib")
    program = PROGRAM.format(conftest=repository / "tests" / "studies" / "conftest.py", runs=tmp_path / "runs")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[-1.0,", "-2.0]", "failed:", "1"], done.stderr


PROGRAM = """
import runpy, torch
from jensen.studies import Study
if __name__ == "__main__":
    fakes = runpy.run_path("{conftest}")
    Method = fakes["FakeMethod"]
    methods = {{"one": Method(-1.0), "bad": Method(fail="no"), "two": Method(-2.0)}}
    options = dict(model=fakes["Net"], data={{"x": torch.zeros(4, 2)}}, metrics=[fakes["log_evidence"]], seeds=[0])
    result = Study("fakes", methods=methods, **options).run("{runs}", jobs=2)
    print(result.frame["log_evidence_per_datum"].dropna().tolist(), "failed:", len(result.failed))
"""


def test_what_makes_no_study_is_said(study, fake):
    with pytest.raises(ConfigurationError, match=r"`methods`: expected one dict for each of `Net`, got `a`, `b`"):
        study(methods={"a": {"x": fake.Method()}, "b": {"y": fake.Method()}}).arms()
    with pytest.raises(ConfigurationError, match=r"expected arms with different folders.*`Net, a/b, seed 0`"):
        study(methods={"a/b": fake.Method(), "a b": fake.Method()}).arms()
    with pytest.raises(ConfigurationError, match="at least one model, method and seed"):
        study(seeds=[]).arms()
    with pytest.raises(ConfigurationError, match="`metrics`: expected functions of different names"):
        study(metrics=[fake.log_evidence, fake.log_evidence]).arms()
    with pytest.raises(ConfigurationError, match="`jobs`: expected a positive integer"):
        study().run("runs", jobs=0)


WRONG = {
    "seeds a number": ({"seeds": 3}, r"`seeds`: expected whole numbers.*got 3; for 3 seeds write range\(3\)"),
    "seeds a word": ({"seeds": "012"}, "`seeds`: expected whole numbers.*got '012'"),
    "seed a path": ({"seeds": ["x/../../.."]}, "`seeds`: expected whole numbers.*got 'x/../../..' among them"),
    "seed a fraction": ({"seeds": [0, 0.5]}, "`seeds`: expected whole numbers.*got 0.5 among them"),
    "seed a truth": ({"seeds": [True]}, "`seeds`: expected whole numbers.*got True among them"),
    "seed twice": ({"seeds": [1, 1]}, "expected arms with different folders"),
    "method a number": ({"methods": {"a": 3}}, r"expected a method such as SVI\(…\) or EM\(\) at `a`, got int"),
    "method a model": ({"methods": {"a": torch.nn.Linear(1, 1)}}, "`methods`: expected a method.*at `a`, got Linear"),
    "methods a list": ({"methods": []}, "`methods`: expected a dict"),
    "model a number": ({"model": 3}, "`model`: expected a model, or a function that makes one, got 3"),
    "model in a dict": ({"model": {"a": None}}, "`model`: at `a` expected a model.*got None"),
    "class with arguments": ({"model": torch.nn.Linear}, "Linear needs `in_features`. Build it, or pass `lambda:"),
    "program": ({"model": lambda x: x}, "a function without arguments that makes one; <lambda> needs `x`"),
    "data none": ({"data": None}, "`data`: expected a dict of tensors.*got None"),
    "data a name": ({"data": "wine"}, "For a data set that jensen ships call its function"),
    "metrics a function": ({"metrics": len}, "`metrics`: expected a list of functions"),
    "metric a name": ({"metrics": ["log_evidence"]}, "`metrics`: expected functions metric.*got 'log_evidence'"),
    "split": ({"score_on": "rows"}, "`score_on`: expected one of train, validation, test, got 'rows'"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_study_that_cannot_be_is_refused_at_construction(study, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        study(**changes)


def test_classes_of_methods_are_told_apart_from_methods(study, fake):
    with pytest.raises(ConfigurationError, match=r"`a` is the class FakeMethod; expected a method, such as FakeMethod"):
        study(methods={"a": fake.Method})
    with pytest.raises(ConfigurationError, match="`name`: expected a string"):
        type(study())(3, model=fake.Net, data={"x": torch.zeros(3)}, methods={"a": fake.Method()})


def test_an_iterator_of_seeds_is_read_once(study, tmp_path):
    made = study(seeds=iter([4, 2]))
    assert made.seeds == (4, 2)
    assert list(made.run(tmp_path / "runs").frame["seed"]) == [4, 4, 2, 2]
    assert list(made.load(tmp_path / "runs").frame["status"]) == ["finished"] * 4


@pytest.mark.parametrize("label", ["../..", "/etc/x", "..", "a\0b", "x" * 1_000, "\N{SNOWMAN}" * 200, "nul\n\t"])
def test_no_label_leads_out_of_the_folder_or_is_too_long_for_it(study, fake, tmp_path, label):
    made = study(methods={label: fake.Method(), "other": fake.Method(-2.0)}, model={label: fake.Net}, seeds=[0])
    frame = made.run(tmp_path / "in" / "runs").frame
    assert list(frame["status"]) == ["finished"] * 2
    assert list(frame["method"]) == [label, "other"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["runs"]
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "log"}


@pytest.mark.parametrize("answer", [None, "good", {"value": 1.0}, torch.zeros(3), 1j])
def test_a_metric_that_returns_no_number_is_a_failed_score(study, fake, tmp_path, answer):
    def odd(fit, data, *, seed):
        return answer

    frame = study(metrics=[odd, fake.log_evidence], seeds=[0]).run(tmp_path / "runs").frame
    assert list(frame["status"]) == ["finished"] * 2
    assert "odd: ConfigurationError: a metric must return an Estimate or a number, got" in frame["error"][0]
    assert list(frame["log_evidence_per_datum"]) == [-1.0, -2.0]


def test_what_calls_sys_exit_is_a_failed_arm_or_score(study, fake, tmp_path):
    def leaves(*_, **__):
        sys.exit(0)

    frame = study(metrics=[leaves], seeds=[0]).run(tmp_path / "runs").frame
    assert list(frame["error"]) == ["leaves: SystemExit: 0"] * 2
    frame = study(model=leaves, seeds=[0]).run(tmp_path / "other").frame
    assert list(frame["status"]) == ["failed"] * 2


def test_the_table_averages_over_seeds_and_the_page_holds_everything(study, tmp_path):
    result = study(methods={"one <b>": study().methods["one"], "two": study().methods["two"]}).run(tmp_path / "runs")
    text = repr(result)
    assert "one <b>" in text
    assert "-1.0000 ± 0.0000" in text
    summary = result.summary()
    assert list(summary["arms"]) == [2, 2]

    page = result.report(tmp_path / "report.html")
    content = page.read_text()
    assert content.count("data:image/png;base64,") == 2
    assert "one &lt;b&gt;" in content
    assert "one <b>" not in content
    assert 'src="http' not in content
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".html", ".tmp")] == ["report.html"]


def test_the_bar_shows_arms_and_steps(study, tmp_path, capsys):
    study(seeds=[0]).run(tmp_path / "runs", progress=True)
    shown = capsys.readouterr().err
    assert "fakes" in shown
    assert "2/2" in shown
    study(seeds=[0]).run(tmp_path / "other")
    assert capsys.readouterr().err == ""


def test_importing_studies_loads_no_drawing_or_table_library(repository):
    libraries = ("rich", "typer", "pandas", "matplotlib", "joblib", "sklearn", "arviz")
    code = f"import sys, jensen.studies; print([name for name in {libraries} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.strip() == "[]"
    assert Path(repository, "studies").is_dir()
