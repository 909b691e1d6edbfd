"""The example scripts run as they stand, at tiny size."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = {
    "logistic_regression": {},
    "classification": {"picture": "irises.png"},
    "gaussian_mixture": {"picture": "wine.png"},
    "bayesian_mixture": {"picture": "weights.png"},
    "hierarchical_vae": {"picture": "layers.png", "particles": 20},
    "vae_mnist": {"out": "out", "particles": 20},
    "vae_digits": {"out": "out", "particles": 20},
    "compare_methods": {"out": "out"},
}
EXPECTED = {
    "logistic_regression": "accuracy on 142 held-out tumours",
    "classification": "accuracy on 45 held-out irises",
    "bayesian_mixture": "components that keep some weight",
    "gaussian_mixture": "wines of each cultivar in each cluster",
    "hierarchical_vae": "nats per held-out digit; dimensions in use",
    "vae_mnist": "pictures are in out",
    "vae_digits": "pictures and the fit are in out",
    "compare_methods": "report: out/guides.html",
}


def test_every_example_is_run(repository):
    assert sorted(path.stem for path in (repository / "examples").glob("*.py")) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script = runpy.run_path(str(repository / "examples" / f"{name}.py"), run_name="example")
    script["main"](steps=20, **EXAMPLES[name])
    assert EXPECTED[name] in capsys.readouterr().out
    for file in tmp_path.rglob("*.png"):
        assert file.stat().st_size > 5_000
    assert (Path(tmp_path, "out").exists()) == ("out" in EXAMPLES[name])
