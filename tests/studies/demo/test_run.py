"""The demo, with few steps: every arm finishes, every file is there and can be read, nothing is run twice."""

from __future__ import annotations

import numpy
import pytest

from jensen.studies.demo.run import decay, demo_studies, run_demo

PICTURES = {
    "breast_cancer_bound_against_time",
    "breast_cancer_evidence",
    "breast_cancer_forest",
    "breast_cancer_pairs",
    "digits_bound_against_time",
    "digits_evidence",
    "digits_latent_map",
    "digits_reconstructions",
    "digits_samples_IWAE",
    "digits_samples_TraceMeanField_ELBO",
    "wine_bound_against_time",
    "wine_ellipses",
}


@pytest.mark.slow
def test_demo(tmp_path, capsys):
    import arviz

    made = run_demo(tmp_path / "demo", quick=True, progress=False)

    shown = capsys.readouterr().out
    assert "k-hat" in shown
    for name in ("pictures", "posteriors", "report.html", "arms"):
        assert str(tmp_path / "demo" / name) in shown.replace("\n", "")
    frames = {label: result.frame for label, result in made.results.items()}
    assert {label: len(frame) for label, frame in frames.items()} == {
        "logistic regression": 5,
        "Gaussian mixture": 1,
        "autoencoder": 2,
    }
    for frame in frames.values():
        assert (frame["status"] == "finished").all(), frame["error"].tolist()
        assert (frame["error"] == "").all(), frame["error"].tolist()
        assert numpy.isfinite(frame[["elbo_per_datum", "log_evidence_per_datum", "log_evidence_stderr"]]).all(axis=None)
        slack = 4 * frame["log_evidence_stderr"] + 4 * frame["elbo_stderr"] + 1e-5
        assert (frame["elbo_per_datum"] <= frame["log_evidence_per_datum"] + slack).all()
    assert {path.stem for path in made.files["pictures"]} == PICTURES
    posteriors = [arviz.from_netcdf(path) for path in made.files["posteriors"]]
    assert [posterior.attrs["method"] for posterior in posteriors] == ["SVI"] * 8
    assert posteriors[0].posterior["w"].shape == (1, 1_000, 30)
    assert (tmp_path / "demo" / "report.html").read_text().count("data:image/png;base64,") == len(PICTURES)

    arms = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo" / "arms").rglob("arm.json")}
    assert len(arms) == 8
    for study in demo_studies(quick=True)[0].values():
        assert (study.run(tmp_path / "demo" / "arms").frame["status"] == "finished").all()
    assert {path: path.stat().st_mtime_ns for path in arms} == arms


def test_the_learning_rate_decays_to_a_hundredth():
    assert decay(0.0) == 1.0
    assert decay(1.0) == pytest.approx(0.01)
