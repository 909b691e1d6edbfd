"""What fits say of themselves, in a study's frame, table, page and last line; earlier arms say "unknown"."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jensen.inference.diagnostics import Estimate
from jensen.studies.arms.verdict import doubts, tally
from jensen.studies.cli.study import report_file, run_file
from jensen.studies.report.table import as_html, as_text, cells, last_line

REASON, ADVICE = "the bound moved by 17.6 +- 1.5 nats (tolerance <0.57>)", "Take more steps."


@dataclass(frozen=True)
class _Judged:
    """A method whose fits end as told: by seed, or all alike."""

    method: Any
    statuses: tuple[str, ...]
    reliability: Any = None

    def fit(self, model: Any, data: Any, *, seed: int, **options: Any) -> Any:
        fit = self.method.fit(model, data, seed=seed, **options)
        status = self.statuses[seed % len(self.statuses)]
        info = dict(fit.info)
        if status != "stopped early":
            info["convergence"] = {"reason": REASON, "advice": "" if status == "converged" else ADVICE}
        if self.reliability is not None:
            info["reliability"] = self.reliability
        return type(fit)(fit.value, fit.data_size, status, info)


@pytest.fixture
def judged(study, fake, tmp_path):
    def make(**methods):
        given = {name: _Judged(fake.Method(-1.0), *options) for name, options in methods.items()}
        return study(methods=given).run(tmp_path / "runs")

    return make


def test_the_frame_says_how_every_fit_ended(judged):
    frame = judged(mixed=(("converged", "not converged"),), early=(("stopped early",),)).frame.set_index(
        ["method", "seed"]
    )
    assert frame["convergence"].to_dict() == {
        ("mixed", 0): "converged",
        ("mixed", 1): "not converged",
        ("early", 0): "stopped early",
        ("early", 1): "stopped early",
    }
    assert frame.loc[("mixed", 1), "convergence_reason"] == f"{REASON}. {ADVICE}"
    assert frame.loc[("mixed", 0), "convergence_reason"] == f"{REASON}."
    assert (frame["status"] == "finished").all() and (frame["unreliable"] == "").all()


def test_the_table_counts_what_seeds_do_not_share(judged):
    result = judged(all=(("converged",),), none=(("not converged",),), some=(("converged", "unknown"),))
    assert [line[2] for line in cells(result)] == ["yes", "no", "1 of 2"]
    assert result.summary()["converged"].tolist() == [2, 0, 1]
    text = as_text([result])
    assert f"Net, none, seed 0: not converged: {REASON}. {ADVICE}" in " ".join(text.split())
    assert "Net, all" not in text and "Net, some" not in text
    assert last_line([result]) == "fits: 3 converged, 2 not converged, 1 unknown"


def test_the_page_has_the_reason_on_hover(judged, tmp_path):
    result = judged(one=(("converged", "not converged"),))
    page = result.report(tmp_path / "page.html").read_text()
    escaped = REASON.replace("<", "&lt;").replace(">", "&gt;")
    table = as_html([result])
    assert f'<td title="seed 0: converged: {escaped}.\nseed 1: not converged: {escaped}. {ADVICE}">1 of 2</td>' in table
    assert table in page
    assert f'title="{escaped}. {ADVICE}">not converged</td>' in page  # in the list of arms
    assert REASON not in page  # nothing unescaped


def test_numbers_that_cannot_be_relied_on_are_marked(study, fake, tmp_path):
    def log_evidence(fit, data, *, seed):
        details = {"unreliable": "k-hat 4.9"} if fit.value < -1.5 else {"k_hat": 0.2}
        return Estimate(10 * fit.value, 1.0, 10, details)

    result = study(metrics=[log_evidence]).run(tmp_path / "runs")
    assert [line[4] for line in cells(result)] == ["-1.0000 ± 0.0000", "-2.0000 ± 0.0000 (!)"]
    assert result.frame["unreliable"].tolist() == ["", "log_evidence: k-hat 4.9"] * 2
    assert last_line([result]).endswith("4 unknown, 2 with numbers that cannot be relied on, see above")
    assert "Net, two, seed 0: unknown: the fit is of a version that did not test it. Unreliable: " in " ".join(
        as_text([result]).split()
    )
    assert study(metrics=[log_evidence]).load(tmp_path / "runs").frame.equals(result.frame)  # it is on disk


def test_a_fits_own_check_of_reliability_counts():
    bad = {"reliable": False, "reason": 'the sd of "s" is 1.8 times the guide\'s (k-hat 0.3)', "k_hat": 0.3}
    said = doubts({"fit_status": "converged", "convergence": {"reason": REASON, "advice": ""}, "reliability": bad}, {})
    assert said.unreliable == bad["reason"]
    assert said.text == f"converged: {REASON}. Unreliable: {bad['reason']}."
    good = {
        "reliability": {"reliable": True, "reason": "k-hat 0.1"},
        "fit_status": "converged",
        "convergence": {"reason": "r"},
    }
    assert doubts(good, {"elbo": {"value": 1.0}, "k": {"error": "ValueError"}}).unreliable == ""


def test_an_arm_without_a_verdict_is_unknown(tmp_path):
    """What an earlier version wrote: `finished`, or nothing."""
    for info in ({"fit_status": "finished", "steps": 10}, {}):
        said = doubts(info, {})
        assert (said.convergence, said.unreliable) == ("unknown", "") and "did not test it" in said.reason
    assert doubts({"fit_status": "stopped early"}, {}).convergence == "stopped early"
    saved = Path(__file__).parents[1] / "saved_before" / "mixtures"
    info = json.loads((saved / "GaussianMixture" / "svi" / "seed-0" / "arm.json").read_text())["info"]
    assert doubts(info, {}).convergence == "unknown"


def test_arms_that_did_not_finish_have_no_verdict(study, fake, tmp_path):
    result = study(methods={"bad": fake.Method(-1.0, fail="no"), "good": fake.Method(-1.0)}, seeds=[0]).run(
        tmp_path / "r"
    )
    assert result.frame["convergence"].tolist() == ["", "unknown"]
    assert [line[2] for line in cells(result)] == ["-", "?"]
    assert last_line([result]) == "fits: 1 unknown, 1 not finished"
    assert result.report(tmp_path / "page.html").exists()


def test_the_command_ends_with_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(
        "import torch\nfrom jensen.inference import EM\nfrom jensen.models import GaussianMixture\n"
        "from jensen.studies import Study\ntorch.manual_seed(0)\n"
        "x = torch.cat([torch.randn(40, 1), torch.randn(40, 1) + 8])\n"
        'study = Study("small", model=GaussianMixture(2, 1), data={"x": x}, methods={"em": EM(), "one": EM(steps=1)}, '
        "seeds=[0])\n"
    )
    assert run_file(Path("small.py"), Path("runs"), jobs=1, report=Path("a.html"), progress=False)
    assert capsys.readouterr().out.splitlines()[-1] == "fits: 1 converged, 1 not converged"
    report_file(Path("small.py"), Path("runs"), Path("b.html"))
    assert capsys.readouterr().out.splitlines()[-1] == "fits: 1 converged, 1 not converged"


def test_counts_are_in_a_fixed_order():
    assert tally(["stopped early", "unknown", "unknown", "converged"]) == "1 converged, 2 unknown, 1 stopped early"
