"""From a fit on a file to predictions for another one: the same columns, units and classes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy
import pandas
import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import SVI, load, log_evidence
from jensen.studies.cli import main
from jensen.studies.cli.predictions import predict_rows
from jensen.studies.cli.resolve import find_model

OWN = """
import pyro, torch
import pyro.distributions as dist
from jensen.models import LatentVariableModel

class Rate(LatentVariableModel):
    def __init__(self, num_features: int, scale: float = 1.0):
        super().__init__()
        self.num_features, self.scale = num_features, scale
    def model(self, rows, count=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(self.num_features), self.scale).to_event(1))
        with pyro.plate("data", len(rows)):
            return pyro.sample("count", dist.Poisson((rows @ w).exp()), obs=count)

class Pair(LatentVariableModel):
    def model(self, values=None):
        with pyro.plate("data", 1 if values is None else len(values)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=values)
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(0.5))
    def guide(self, values):
        with pyro.plate("data", len(values)):
            pyro.sample("z", dist.Normal(self.slope * values, 0.5**0.5).to_event(1))

class Coin(LatentVariableModel):
    def __init__(self):
        super().__init__()
        self.spread = torch.nn.Parameter(torch.ones(()))
    def model(self, x=None):
        with pyro.plate("data", 1 if x is None else len(x)):
            c = pyro.sample("c", dist.Bernoulli(0.25), infer={"enumerate": "parallel"})
            return pyro.sample("x", dist.Normal(2.0 * c.unsqueeze(-1), self.spread).to_event(1), obs=x)
    def guide(self, x=None):
        pass
"""
QUICK = ["--compile", "off", "-q", "--particles", 0]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    return int(done.value.code or 0)


def flowers(path: str, **options: object) -> pandas.DataFrame:
    """Iris with names of the classes, in centimetres times a million."""
    from sklearn.datasets import load_iris

    frame = load_iris(as_frame=True).frame
    frame.columns = ["a", "b", "c", "d", "kind"]
    frame[["a", "b", "c", "d"]] = frame[["a", "b", "c", "d"]] * 1e6 + 1e9
    frame["kind"] = numpy.array(["rose", "tulip", "lily"])[frame["kind"]]
    frame.to_csv(path, **options)
    return frame


def test_classes_and_scaling_are_remembered(folder, capsys):
    frame = flowers("iris.csv", sep=";", decimal=",", encoding="utf-8-sig")
    words = ["--target", "kind", "--standardize", "--steps", 150, "--lr", 0.1, *QUICK, "--out", "fit"]
    assert call("fit", "BayesianLogisticRegression", "-d", "iris.csv", *words) == 0
    shown = capsys.readouterr().out
    assert "iris: 150 rows, 4 columns of x, y" in shown
    assert "separator semicolon, decimal comma, names on line 1" in shown
    assert "classes of y: lily is 0, rose is 1, tulip is 2" in shown
    assert "the first column, which has no name, is the index" in shown
    fit = load("fit")
    x = torch.tensor(frame[["a", "b", "c", "d"]].to_numpy())
    scaled = (x - x.mean(0)) / x.std(0, correction=0)
    torch.testing.assert_close(fit.data["x"], scaled.float(), rtol=0, atol=1e-6)

    # other columns' order, another form, a column more, no target, and only a few rows: the fit's own units are used
    few = frame[::30].assign(more="x")[["d", "more", "b", "a", "c"]]
    few.to_csv("new.csv", index=False)
    assert call("predict", "fit", "--data", "new.csv") == 0
    said = capsys.readouterr()
    assert "not used: `more`" in said.err
    found = pandas.read_csv(io.StringIO(said.out), index_col="row")
    assert list(found.columns) == ["kind", "P(lily)", "P(rose)", "P(tulip)"]
    assert list(found["kind"]) == list(frame["kind"][::30])
    expected = fit.model.probabilities(scaled[::30].float(), **fit.posterior(1_000)).mean(0)
    numpy.testing.assert_allclose(found[["P(lily)", "P(rose)", "P(tulip)"]], expected.numpy(), atol=1e-6)

    # the whole file again: its labels are compared with, its index names the rows
    assert call("predict", "fit", "--data", "iris.csv", "--out", "deep/p.csv", "--particles", 100) == 0
    said = capsys.readouterr()
    written = pandas.read_csv("deep/p.csv", index_col=0)
    accuracy = (written["kind"] == frame["kind"]).mean()
    assert accuracy > 0.9
    assert f"accuracy: {accuracy:.4f} of 150 labelled rows" in said.err


def test_other_data_than_those_of_the_fit_are_refused(folder, capsys):
    frame = flowers("iris.csv", index=False)
    words = ["--target", "kind", "--steps", 2, *QUICK, "--out", "fit", "--standardize"]
    assert call("fit", "BayesianLogisticRegression", "-d", "iris.csv", *words) == 0
    capsys.readouterr()
    frame.drop(columns="b").to_csv("less.csv", index=False)
    frame.replace("rose", "rosa").to_csv("other.csv", index=False)
    frame.assign(b=frame["b"].where(frame.index != 3)).to_csv("gap.csv", index=False)
    numpy.savez("narrow.npz", x=numpy.zeros((3, 3)))
    numpy.savez("odd.npz", z=numpy.zeros((3, 4)))
    for data, message in {
        "less.csv": "expected the columns of the fit, and `b` is not there",
        "other.csv": "the label `rosa` in row 0 is none of the classes. Did you mean `rose`?",
        "gap.csv": "`gap.csv`, line 5, column `b`: a value is missing",
        "narrow.npz": "expected rows of shape (4,), as in the fit, got (3,)",
        "odd.npz": "expected `x`, got z",
        "nothing.csv": "there is no such file",
    }.items():
        assert call("predict", "fit", "--data", data, "--out", "new/p.csv") == 2
        said = capsys.readouterr().err
        assert message in said and said.count("jensen: ") == 1 and "Traceback" not in said
    assert not (folder / "new").exists()
    for more, message in ((["--particles", -1], "--particles"), (["--out", "fit"], "expected the name of a file")):
        assert call("predict", "fit", "--data", "iris.csv", *more) == 2
        assert message in capsys.readouterr().err


def test_a_record_of_another_fit_is_not_believed(folder, capsys):
    flowers("iris.csv", index=False)
    words = ["-d", "iris.csv", "--target", "kind", "-s", "num_components=2", "--method", "EM", "--particles", 0]
    assert call("fit", "GaussianMixture", *words, "--out", "one") == 0
    assert call("fit", "GaussianMixture", *words, "--out", "two", "--standardize") == 0
    (folder / "one" / "preparation.json").write_bytes((folder / "two" / "preparation.json").read_bytes())
    assert call("predict", "one", "--data", "iris.csv") == 2
    assert "belongs to another fit than the one beside it" in capsys.readouterr().err
    for content, message in (("{", "truncated"), (json.dumps({"format": "jensen.preparation"}), "format version")):
        (folder / "two" / "preparation.json").write_text(content)
        assert call("predict", "two", "--data", "iris.csv") == 2
        assert message in capsys.readouterr().err
    (folder / "two" / "preparation.json").unlink()
    assert call("predict", "two", "--data", "iris.csv", "--particles", 0) == 2  # its text column is nobody's
    assert call("predict", "nowhere", "--data", "iris.csv") == 2


def test_rows_of_a_mixture_with_their_evidence(folder, capsys):
    words = ["--method", "EM", "-s", "num_components=3", "--particles", 10, "--out", "fit", "-q"]
    assert call("fit", "GaussianMixture", "-d", "wine", *words) == 0
    assert "not used: y, which GaussianMixture does not take" in capsys.readouterr().out
    assert call("predict", "fit", "-d", "wine", "--out", "p.csv", "--particles", 10) == 0
    found = pandas.read_csv("p.csv", index_col=0)
    fit = load("fit")
    rows = log_evidence(fit, num_particles=10).details["per_datum"]
    numpy.testing.assert_allclose(found["log evidence"], rows.numpy(), rtol=1e-5)
    assert list(found["component"]) == fit.model.predict(fit.data).argmax(-1).tolist()
    assert "accuracy" not in capsys.readouterr().err  # components are no classes
    load("fit").save("fit")  # which leaves the record valid
    # wine in its own units, by the names of its columns
    from jensen.datasets import wine

    raw = wine(standardize=False)
    pandas.DataFrame(raw.train["x"].double().numpy(), columns=raw.feature_names).to_csv("raw.csv", index=False)
    assert call("predict", "fit", "-d", "raw.csv", "--out", "q.csv", "--particles", 10) == 0
    again = pandas.read_csv("q.csv", index_col=0)
    numpy.testing.assert_allclose(again["log evidence"], found["log evidence"], rtol=1e-4)


def test_missing_values_are_scaled_and_predicted_where_the_model_allows_them(folder, capsys):
    generator = numpy.random.default_rng(0)
    x = generator.normal(3.0, 2.0, (40, 3))
    x[::7, 1] = numpy.nan
    pandas.DataFrame(x, columns=["a", "b", "c"]).to_csv("holes.csv", index=False)
    words = ["-d", "holes.csv", "--standardize", "--method", "EM", "--steps", 3, "--particles", 0]
    assert call("fit", "PPCA", *words, "-s", "latent_dim=1", "--out", "fit") == 0
    seen = (x - numpy.nanmean(x, 0)) / numpy.nanstd(x, 0)
    numpy.testing.assert_allclose(load("fit").data["x"].double().numpy(), seen, atol=1e-6)
    assert call("predict", "fit", "-d", "holes.csv", "--out", "p.csv", "--particles", 0) == 0
    assert len(pandas.read_csv("p.csv")) == 40
    capsys.readouterr()
    assert call("fit", "GaussianMixture", *words, "-s", "num_components=2", "--out", "no/fit") == 2
    assert "`holes.csv`, line 2, column `b`: a value is missing, which GaussianMixture" in capsys.readouterr().err
    assert not (folder / "no").exists()


def test_blank_labels_are_missing_ones_where_the_model_allows_them(folder, capsys):
    generator = numpy.random.default_rng(0)
    frame = pandas.DataFrame(generator.integers(0, 2, (40, 6)), columns=list("abcdef"))
    frame["kind"] = [["cat", "dog", None][row % 3] for row in range(40)]
    frame.to_csv("some.csv", index=False)
    words = ["-d", "some.csv", "--target", "kind", "--steps", 2, *QUICK, "--out"]
    networks = ["-s", "latent_dim=2", "-s", "hidden=[8]"]
    assert call("fit", "SemiSupervisedVAE", *networks, *words, "fit") == 0
    assert load("fit").data["y"][:4].tolist() == [0, 1, -1, 0]
    assert load("fit").model.num_classes == 2
    assert call("predict", "fit", "-d", "some.csv", "--out", "p.csv", "--particles", 0) == 0
    assert set(pandas.read_csv("p.csv")["class"]) <= {"cat", "dog"}
    assert "of 27 labelled rows" in capsys.readouterr().err
    assert call("fit", "BayesianLogisticRegression", *words, "no") == 2
    assert "`some.csv`, line 4, column `kind`: a label is missing" in capsys.readouterr().err


def test_optional_arguments_are_optional(folder, capsys):
    generator = numpy.random.default_rng(0)
    numpy.savez("frames.npz", x=generator.normal(size=(6, 9, 2)))
    words = ["-s", "num_states=2", "--method", "EM", "--steps", 2, "--particles", 0, "--out", "fit"]
    assert call("fit", "HiddenMarkovModel", "-d", "frames.npz", *words) == 0
    assert call("predict", "fit", "-d", "frames.npz", "--out", "p.csv", "--particles", 5) == 0
    found = pandas.read_csv("p.csv", index_col=0)
    fit = load("fit")
    assert found[[f"state[{step}]" for step in range(9)]].to_numpy().tolist() == fit.model.predict(fit.data).tolist()
    numpy.savez("letters.npz", x=generator.integers(0, 21, (8, 5)))
    quick = ["-s", "hidden=[4]", "--steps", 2, *QUICK, "--out", "alignment"]
    assert call("fit", "AlignmentVAE", "-d", "letters.npz", *quick) == 0
    numpy.savez("words.npz", x=generator.poisson(2.0, (8, 5)) + 1)
    topics = ["-s", "num_topics=2", "--method", "CAVI", "--steps", 2, "--particles", 0, "--out", "topics"]
    assert call("fit", "LatentDirichletAllocation", "-d", "words.npz", *topics) == 0
    assert load("topics").model.num_words == 5
    assert call("predict", "topics", "-d", "words.npz", "--out", "p.csv") == 0
    assert list(pandas.read_csv("p.csv").columns) == ["row", "topic", "P(0)", "P(1)"]
    capsys.readouterr()
    assert call("fit", "BayesianLogisticRegression", "-d", "words.npz", "--out", "no") == 2
    assert "The model observes `y`, and the data have `x`. Give the column with --target." in capsys.readouterr().err


def test_a_users_own_model_is_named_and_only_then_run(folder, capsys):
    generator = numpy.random.default_rng(0)
    x = generator.normal(size=(60, 2))
    table = pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "n": generator.poisson(numpy.exp(0.5 * x[:, 0]))})
    table.to_csv("counts.csv", index=False)
    words = ["-d", "counts.csv", "--column", "count=n", "--steps", 60, "--lr", 0.1, "-s", "scale=2.0", *QUICK]
    assert call("fit", "own.py:Rate", *words, "--out", "fit") == 0
    assert "column `n` is count" in capsys.readouterr().out
    assert call("predict", "fit", "-d", "counts.csv") == 2
    assert "The model of fit is your own: say --model own.py:Rate" in capsys.readouterr().err
    (folder / "elsewhere").mkdir()
    (folder / "own.py").rename(folder / "elsewhere" / "moved.py")
    table.drop(columns="n").to_csv("new.csv", index=False)
    assert call("predict", "fit", "-d", "new.csv", "--model", "elsewhere/moved.py:Rate", "--out", "p.csv") == 0
    found = pandas.read_csv("p.csv", index_col=0)
    assert list(found.columns) == ["n mean", "n sd"]
    own = find_model("elsewhere/moved.py:Rate")
    draws = load("fit", own(2, scale=2.0)).posterior(4_000)["w"].double().numpy()
    rates = numpy.exp(draws @ x.T)
    error = (found["n sd"] ** 2 / 1_000 + rates.var(0) / 4_000) ** 0.5
    assert numpy.all(abs(found["n mean"] - rates.mean(0)) < 5 * error)


def test_latents_of_rows_where_there_is_no_prediction(folder):
    x = numpy.array([[2.0, 0.0], [0.0, -4.0]])
    pandas.DataFrame(x, columns=["a", "b"]).to_csv("pairs.csv", index=False)
    assert call("fit", "own.py:Pair", "-d", "pairs.csv", "--steps", 1, "--lr", 1e-9, *QUICK, "--out", "fit") == 0
    words = ["--model", "own.py:Pair", "--out", "p.csv", "--particles", 400]
    assert call("predict", "fit", "-d", "pairs.csv", *words) == 0
    found = pandas.read_csv("p.csv", index_col=0)
    # the guide is the exact posterior N(x / 2, 1 / 2), and p(x) = N(x; 0, 2)
    error = (0.5 / 400) ** 0.5
    numpy.testing.assert_allclose(found[["z[0]", "z[1]"]], x / 2, atol=5 * error)
    exact = torch.distributions.Normal(0.0, 2**0.5).log_prob(torch.tensor(x)).sum(-1)
    numpy.testing.assert_allclose(found["log evidence"], exact.numpy(), atol=1e-4)


@pytest.mark.parametrize("data_dim", [-1, -2])
def test_latents_of_rows_wherever_the_data_plate_is(data_dim):
    def model(x):
        groups = pyro.plate("groups", 3, dim=-3 - data_dim)
        with groups, pyro.plate("data", len(x), dim=data_dim):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.mT if data_dim == -1 else x)

    x = torch.arange(15.0).reshape(5, 3)
    found = predict_rows(SVI(steps=400, lr=0.1, progress=False).fit(model, x), {"x": x}, particles=500).columns
    rows = numpy.stack([found[f"z[{group}]"] for group in range(3)], 1)
    numpy.testing.assert_allclose(rows, x / 2, atol=0.5)


def test_discrete_latents_of_rows_have_their_probabilities(folder):
    pandas.DataFrame({"v": [0.0, 1.0, 2.5]}).to_csv("values.csv", index=False)
    words = ["-d", "values.csv", "--objective", "TraceEnum_ELBO", "--steps", 1, "--lr", 1e-9, *QUICK, "--out", "fit"]
    assert call("fit", "own.py:Coin", *words) == 0
    assert call("predict", "fit", "-d", "values.csv", "--model", "own.py:Coin", "--out", "p.csv") == 0
    found = pandas.read_csv("p.csv", index_col=0)
    x = torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)
    one, zero = (torch.distributions.Normal(mean, 1.0).log_prob(x).exp() for mean in (2.0, 0.0))
    chance = 0.25 * one / (0.25 * one + 0.75 * zero)
    numpy.testing.assert_allclose(found["P(c=1)"], chance, atol=1e-5)
    assert list(found["c"]) == [0, 0, 1]
    numpy.testing.assert_allclose(found["log evidence"], (0.25 * one + 0.75 * zero).log(), atol=1e-5)


def test_the_seed_is_that_of_the_networks_too(folder):
    words = ["-d", "digits", "-s", "latent_dim=2", "-s", "hidden=[8]", "-s", "likelihood=bernoulli_grey", "--steps", 3]
    states = []
    for seed, out in ((3, "one"), (3, "two"), (4, "three")):
        torch.manual_seed(len(out))
        assert call("fit", "VAE", *words, *QUICK, "--seed", seed, "--batch-size", 64, "--out", out) == 0
        states.append(torch.cat([value.flatten() for value in load(out).model.state_dict().values()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
