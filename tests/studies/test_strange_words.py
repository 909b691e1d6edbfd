"""Labels, errors and names from anywhere are shown as text: in bars, tables, pages, pictures and errors."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pandas
import pytest
import torch
from line_fits import line_fit

from jensen.datasets import Dataset
from jensen.inference.doctor.report import Finding, ObjectiveRow, ParameterRow, Report, SiteRow
from jensen.inference.errors import CheckpointError, ConfigurationError, DataError
from jensen.inference.plain_text import html_text, printable, rich_text
from jensen.inference.run.progress import progress_bar
from jensen.studies.cli.user_errors import explain
from jensen.studies.pictures.comparison import bound_against_time, evidence, posterior_forest
from jensen.studies.pictures.style import label, save
from jensen.studies.progress import progress_display
from jensen.studies.report.table import as_text

WORDS = (
    "[/a/b]",
    "[red]alarm",
    "[link=http://a.b]click[/link]",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "a\x9bc\x00\x08\x7f",
    "right\u202eleft\u2066x",
    "half\ud800",
    "$x_{y$ and $\\frac$",
    "{0} %s {task.id}",
    "_hidden",
    "<script>&",
    "two\nlines\r\t\u2028",
)
LABEL = " ".join(WORDS)
COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")  # what rich itself writes
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\u2066\ud800]")


def unharmed(text):
    """Whether nothing in the text is obeyed by a terminal, once rich's own colours are out."""
    return OBEYED.search(text) is None


@pytest.mark.parametrize("word", WORDS)
def test_text_stays_and_commands_become_escapes(word):
    shown = printable(word)
    assert unharmed(shown)
    assert "\n" not in shown
    assert printable(shown) == shown
    assert rich_text(word).plain == shown
    assert unharmed(html_text(word).replace("\n", ""))
    assert str(DataError(word)) == printable(word, lines=True)


def test_the_letters_of_every_script_stay():
    for word in ("Übermaß 中文 ελ", "שלום", "क\u200c्ष", "क्\u200dष", "👩\u200d🔬", "a\u00a0b", "x²≤½"):
        assert printable(word) == word
    assert printable("\x1b[1m") == "\\x1b[1m"
    assert printable("a\u202eb") == "a\\u202eb"
    assert printable("a\nb\tc") == "a\\nb\\tc"
    assert printable("a\nb\tc\r", lines=True) == "a\nb\tc\\r"
    assert printable(3.5) == "3.5"


def test_a_study_runs_shows_and_reports_any_label(study, fake, tmp_path, capsys):
    methods = {f"{number} {word}": fake.Method(-1.0) for number, word in enumerate([*WORDS, LABEL])}
    methods["failing"] = fake.Method(-2.0, fail=f"no {LABEL}")
    named = dataclasses.replace(study(methods=methods, seeds=[0]), name=f"s {LABEL}"[:80])
    result = named.run(tmp_path / "runs", progress=True)
    assert unharmed(COLOURS.sub("", capsys.readouterr().err).replace("\n", ""))
    assert list(result.frame["status"]) == ["finished"] * (len(methods) - 1) + ["failed"]
    assert result.frame["method"].tolist() == list(methods)
    for text in (as_text([result]), repr(result), result._repr_html_()):
        assert unharmed(text)
        assert "[/a/b]" in text
        assert "\\x1b]0;title\\x07" in text
    page = result.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert unharmed(page)
    assert "<script>" not in page
    assert "[/a/b]" in (result.records[-1].folder / "error.txt").read_text(encoding="utf-8")


def test_bars_show_what_they_are_given(capsys):
    with progress_bar(LABEL, 3, True) as update:
        update(1, LABEL)
    with progress_display(True) as display:
        display.start(LABEL, total=1, done=0)
        display.callbacks(LABEL)
        display.note(LABEL)
        display.advance(LABEL, "failed")
    shown = capsys.readouterr().err
    assert "[/a/b]" in shown
    assert unharmed(COLOURS.sub("", shown).replace("\n", ""))


def test_pictures_show_labels_as_they_are():
    history = pandas.DataFrame({"seconds": [0.1, 1.0], "bound_per_datum": [-2.0, -1.0]})
    pictures = [bound_against_time({word: [history] for word in WORDS}, title=LABEL)]
    rows = {"elbo_per_datum": -1.0, "log_evidence_per_datum": -0.9, "log_evidence_stderr": 0.1}
    pictures.append(evidence(pandas.DataFrame([{"method": word, **rows} for word in WORDS]), title=LABEL))
    draws = type("Draws", (), {"posterior": {"w": np.random.default_rng(0).normal(size=(1, 50, 2))}})
    few = dict.fromkeys(WORDS[:4], draws)
    pictures.append(posterior_forest(few, "w", names=WORDS[4:6], title=LABEL))
    for picture in pictures:
        buffer = io.BytesIO()
        save(picture, buffer)
        assert len(buffer.getvalue()) > 1000
    legend = [text.get_text() for text in pictures[0].legends[0].get_texts()]
    assert [text.strip() for text in legend] == [label(word).strip() for word in WORDS]


def test_fits_reports_data_and_errors(tmp_path):
    from rich.console import Console

    fit = line_fit()
    strange = type(fit)(LABEL, {"objective": LABEL, "guide": LABEL}, fit.model, fit.guide, fit.history, data=fit.data)
    object.__setattr__(strange, "status", LABEL)
    site = SiteRow(LABEL, "latent", "local", ((LABEL, 3),), (3,), (), LABEL, LABEL, LABEL, LABEL, LABEL, LABEL)
    parameters, objectives = (ParameterRow(LABEL, LABEL, (), LABEL),), (ObjectiveRow(LABEL, True, True, LABEL),)
    findings = (Finding("code", LABEL, LABEL, LABEL),)
    report = Report(LABEL, LABEL, LABEL, (site,), parameters, objectives, LABEL, findings, findings, True, True)
    for shown in (strange, report):
        console = Console(file=io.StringIO(), width=400)
        console.print(shown)
        assert "[/a/b]" in console.file.getvalue()
        for text in (console.file.getvalue(), repr(shown), str(shown)):
            assert unharmed(text)
    assert unharmed(strange._repr_html_())
    assert "<script>" not in strange._repr_html_()
    columns = {"x": torch.zeros(2, 1), "y": torch.zeros(2)}
    data = Dataset(LABEL, train=columns, feature_names=(LABEL,), target_names=(LABEL, "b"))
    assert unharmed(repr(data))
    for kind in (CheckpointError, ConfigurationError, DataError):
        assert unharmed(str(kind(LABEL)).replace("\n", ""))
        assert unharmed(explain(kind(LABEL)))
    assert unharmed(explain(KeyError(LABEL)))
    assert unharmed(explain(ValueError(LABEL)))
