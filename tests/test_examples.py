"""The example scripts run as they stand, at tiny size."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = {
    "customer_segments": {"customers": 200, "picture": "segments.png"},
    "protein_alignment": {"particles": 10, "picture": "family.png"},
    "logistic_regression": {},
    "classification": {"picture": "irises.png"},
    "gaussian_mixture": {"picture": "wine.png"},
    "bayesian_mixture": {"picture": "weights.png"},
    "hidden_markov": {"picture": "markets.png"},
    "hierarchical_vae": {"picture": "layers.png", "particles": 20},
    "vae_mnist": {"out": "out", "particles": 20},
    "factor_analysis": {"picture": "factors.png"},
    "ppca": {"picture": "digits.png"},
    "semi_supervised": {"picture": "digits.png"},
    "vae_digits": {"out": "out", "particles": 20},
    "conditional_vae": {"picture": "labels.png", "particles": 20},
    "inpainting": {"picture": "completions.png", "particles": 20},
    "vqvae": {"picture": "codes.png"},
    "topics": {"picture": "topics.png"},
    "compare_methods": {"out": "out"},
}
EXPECTED = {
    "customer_segments": "segments by BIC, adjusted Rand index",
    "protein_alignment": "columns that bear mutations worst",
    "logistic_regression": "accuracy on 142 held-out tumours",
    "classification": "accuracy on 45 held-out irises",
    "bayesian_mixture": "components that keep some weight",
    "factor_analysis": "imputed values",
    "ppca": "missing pixels of 359 new digits",
    "topics": "perplexity of the unseen halves of 79 new documents",
    "gaussian_mixture": "wines of each cultivar in each cluster",
    "hidden_markov": "regime    mean, % a month",
    "hierarchical_vae": "nats per held-out digit; dimensions in use",
    "vae_mnist": "pictures are in out",
    "semi_supervised": "the class summed out",
    "vae_digits": "pictures and the fit are in out",
    "conditional_vae": "drawn digits read as their label",
    "inpainting": "partial convolutions: squared error",
    "vqvae": "perplexity of the codebook",
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
