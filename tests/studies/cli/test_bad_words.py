"""A campaign of bad options and bad files: each is exit code 2, one clear line, no traceback and no folder left."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy
import pytest

from jensen.studies.cli import main

FILES = {
    "model.py": """
import pyro, torch
import pyro.distributions as dist
from jensen.models import LatentVariableModel

class Mean(LatentVariableModel):
    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale
    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(0.0, self.scale))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(m, 1.0), obs=x)

class Breaks(Mean):
    def model(self, x=None):
        return {}["key"]

class Leaves(Mean):
    def model(self, x=None):
        raise SystemExit

class Unbuilt(Mean):
    def __init__(self):
        super().__init__()
        assert False

class Abstract(LatentVariableModel):
    pass

class Vast(Mean):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.empty(10**15))

number = 3
""",
    "raises.py": "class Odd(BaseException): pass\n\nraise Odd('so')\n",
    "exits.py": "import sys\n\n\nsys.exit()\n",
    "quits.py": "quit(0)\n",
    "syntax.py": "x = 1\ny = = 2\n",
    "nul.py": "x = 1\0\n",
    "asks.py": "answer = input()\n",
    "assertion.py": "def check():\n    assert 1 == 2\n\ncheck()\n",
    "configured.py": "from jensen.studies import Study\n\nstudy = Study('a', model=3, data=3, methods={})\n",
    "empty.py": "",
    "text.txt": "hello",
    "good.py": "from jensen.datasets import iris\nfrom jensen.inference import EM\nfrom jensen.models import PPCA\n"
    "from jensen.studies import Study\nstudy = Study('s', model=PPCA(4, 1), data=iris(), methods={'a': EM()})\n",
    "t.csv": "a,b,kind\n1,2,yes\n3,4,no\n",
    "n.csv": "a,b\n1,2\n3,4\n",
    "many.csv": "a,b\n" + "".join(f"1,{k}.5\n" for k in range(99)),
    "years.csv": "2019,2020\n1,2\n",
    "ragged.csv": "a,b\n1,2\n3\n",
    "hole.csv": "a,b\n1,2\n3,\n",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The folder of bad files, which no command may change."""
    folder = tmp_path_factory.mktemp("bad")
    for name, content in FILES.items():
        (folder / name).write_text(content)
    numpy.save(folder / "array", numpy.ones((3, 2)))
    (folder / "array.npy").rename(folder / "renamed.npz")
    numpy.savez(folder / "flat.npz", x=numpy.linspace(0, 1, 20))
    numpy.savez(folder / "none.npz")
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)}
    with zipfile.ZipFile(folder / "huge.npz", "w") as archive, archive.open("x.npy", "w") as member:
        numpy.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(80))
    whole = (folder / "flat.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "bits.npz").write_bytes(whole[:80] + bytes([whole[80] ^ 1]) + whole[81:])
    (folder / "zeros.npz").write_bytes(bytes(1000))
    (folder / "folder.npz").mkdir()
    (folder / "folder.csv").mkdir()
    (folder / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture(autouse=True)
def place(files, monkeypatch) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    monkeypatch.setenv("COLUMNS", "200")


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts)


def mixture(*words: object) -> list[object]:
    return ["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2", *words]


def user(name: str, *words: object) -> list[object]:
    return ["fit", f"model.py:{name}", "-d", "flat.npz", "--compile", "off", "--steps", 2, "-q", *words]


def logistic(data: str, *words: object) -> list[object]:
    return ["fit", "BayesianLogisticRegression", "-d", data, *words]


LOGISTIC = ["fit", "BayesianLogisticRegression", "-d", "breast_cancer"]
BAD = {
    "text for a number": ([*LOGISTIC, "-s", "prior_scale=abc"], "`--set prior_scale=abc`: expected a number, got the"),
    "fraction for a count": (
        ["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2.5"],
        "`--set num_components=2.5`: expected a whole number, got `2.5`",
    ),
    "text for a count": (["fit", "PPCA", "-d", "wine", "-s", "latent_dim=two"], "expected a whole number, got the"),
    "text for a truth": ([*LOGISTIC, "-s", "intercept=maybe"], "`--set intercept=maybe`: expected true or false"),
    "none for a number": ([*LOGISTIC, "-s", "prior_scale=None"], "expected a number, got `None`"),
    "text for widths": (
        ["fit", "VAE", "-d", "digits", "-s", "latent_dim=2", "-s", "hidden=wide"],
        "`--set hidden=wide`: expected a list such as [8, 4]",
    ),
    "text for a network": (
        ["fit", "VAE", "-d", "digits", "-s", "latent_dim=2", "-s", "encoder=mlp"],
        "expected an object of Module (which a file of your own can make, not --set)",
    ),
    "negative count": (["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=-1"], "`num_components` must be"),
    "number for a word": (
        ["fit", "GaussianMixture", "-d", "wine", "-s", "num_components=2", "-s", "covariance=7"],
        "`--set covariance=7`: expected a word, got `7`",
    ),
    "user's option": (user("Mean", "-s", "scale=wide"), "`--set scale=wide`: expected a number"),
    "option twice": (mixture("-s", "num_components=3"), "`--set num_components=…` is given twice"),
    "column without a name": (["fit", "PPCA", "-d", "t.csv", "--column", "y"], "for example --column y=price"),
    "target twice": (["fit", "PPCA", "-d", "t.csv", "--column", "y=a", "--target", "b"], "are the same: expected one"),
    "no such target": (logistic("t.csv", "--target", "kid"), "`--target kid` is not a column of `t.csv`. Did you mean"),
    "no such number": (logistic("t.csv", "--target", 9), "`--target 9` is not a column of `t.csv`. Columns: a, b"),
    "target is the index": (logistic("t.csv", "--target", "a", "--index", "a"), "`a` is both the index and `y`"),
    "no labels": (logistic("many.csv", "--target", "b"), "column `b`: expected class labels, got 99 different values"),
    "no target": (["fit", "BayesianLinearRegression", "-d", "n.csv"], "Give the column with --target."),
    "text that is no label": (["fit", "PPCA", "-d", "t.csv"], "expected numbers in column `kind`, got `yes` in line 2"),
    "text kept as numbers": (logistic("t.csv", "--target", "kind", "--no-labels"), "`--no-labels`: expected numbers"),
    "table of years": (["fit", "PPCA", "-d", "years.csv"], "say which with --header or --no-header"),
    "ragged table": (["fit", "PPCA", "-d", "ragged.csv"], "`ragged.csv`, line 3: expected 2 fields"),
    "picture": (["fit", "PPCA", "-d", "picture.csv"], "`picture.csv`, line 1: expected text in UTF-8"),
    "folder for a table": (["fit", "PPCA", "-d", "folder.csv"], "there is no such file"),
    "a hole": (["fit", "GaussianMixture", "-d", "hole.csv", "-s", "num_components=1"], "line 3, column `b`: a value"),
    "separator": (["fit", "PPCA", "-d", "t.csv", "--sep", "ab"], "`--sep ab`: expected one character"),
    "decimal": (["fit", "PPCA", "-d", "t.csv", "--decimal", "x"], "`--decimal x`: expected . or ,"),
    "table's option for arrays": (["fit", "PPCA", "-d", "flat.npz", "--index", "a"], "`--index`: expected with a .csv"),
    "target of a data set": (["fit", "PPCA", "-d", "wine", "--target", "y"], "`--target`: expected with a .csv file"),
    "scaled twice": (["fit", "PPCA", "-d", "wine", "-s", "latent_dim=1", "--standardize"], "is standardised already"),
    "memory": (["fit", "model.py:Vast", "-d", "flat.npz"], "model.py:34: out of memory: 3,725,290.3 GiB"),
    "seed": (mixture("--seed", -1), "`--seed -1`: expected a whole number from 0"),
    "long seed": (mixture("--seed", 10**30), "expected a whole number from 0 to 2**63 - 1"),
    "no fit": (["predict", "folder.csv", "-d", "wine"], "`folder` folder.csv holds no fit"),
    "file for a fit": (["predict", "t.csv", "-d", "wine"], "t.csv holds no fit"),
    "doctor without a target": (["doctor", "BayesianLinearRegression", "-d", "n.csv"], "Give the column with --target"),
    "doctor's options": (["doctor", "GaussianMixture", "-s", "num_components=two"], "expected a whole number"),
    "jobs": (["study", "run", "good.py", "--jobs", -2], "`jobs`: expected a positive integer, or -1"),
    "deep literal": (["fit", "PPCA", "-d", "wine", "-s", "latent_dim=" + "(" * 5000], "expected a whole number"),
    "abstract": (["fit", "jensen.models:LatentVariableModel", "-d", "wine"], "is abstract: it lacks `model`"),
    "user's abstract": (user("Abstract"), "`Abstract` is abstract: it lacks `model`. Name a class that has it."),
    "no model": (user("number"), "expected a model or what makes one, got int"),
    "relative module": (["fit", ".x:y", "-d", "wine"], "`.x` is no module's name"),
    "spaces": (["fit", "a b:y", "-d", "wine"], "`a b` is no module's name"),
    "dots": (["fit", "a..b:y", "-d", "wine"], "`a..b` is no module's name"),
    "folder for a file": (["fit", "..py:y", "-d", "wine"], "expected a Python file, found none"),
    "particles": (mixture("--particles", -1), "`--particles`: expected a number of draws, or 0 for no scores, got -1"),
    "steps": (mixture("--steps", 0), "`steps` must be a positive whole number"),
    "rate": (mixture("--lr", "nan"), "`lr` must be a positive, finite number"),
    "batch": (mixture("--batch-size", 10_000, "-q"), "`batch_size` is 10000, more than the 178 data"),
    "guide": (["fit", "PPCA", "-d", "wine", "-s", "latent_dim=2", "--guide", "norml", "-q"], "`guide` must be one of"),
    "compile": (mixture("--compile", "fast"), "`compile` must be"),
    "method": (mixture("--method", "EMM"), "`EMM` is no method"),
    "objective's type": (mixture("--objective", "IWAE(num_particles='a')"), "expected a whole number, got the text"),
    "objective's stars": (mixture("--objective", "IWAE(**{'a': 1})"), "expected NAME or NAME(key=value)"),
    "renamed array": (user("Mean", "-d", "renamed.npz"), "renamed.npz`: expected an .npz file"),
    "header of 10^12 rows": (user("Mean", "-d", "huge.npz"), "the array `x` claims the shape (1000000000000, 3)"),
    "archive cut short": (user("Mean", "-d", "cut.npz"), "cut.npz`: expected an .npz file"),
    "archive with a flipped bit": (user("Mean", "-d", "bits.npz"), "bits.npz`: expected an .npz file"),
    "archive of zeros": (user("Mean", "-d", "zeros.npz"), "zeros.npz`: expected an .npz file"),
    "archive of nothing": (user("Mean", "-d", "none.npz"), "none.npz`: expected at least one array, got none"),
    "archive that is a folder": (user("Mean", "-d", "folder.npz"), "there is no such file"),
    "raises in model": (user("Breaks"), "model.py:17: KeyError: 'key'"),
    "exits in model": (user("Leaves"), "model.py:21: sys.exit() was called"),
    "raises in constructor": (user("Unbuilt"), "model.py:26: AssertionError"),
    "study raises": (["study", "run", "raises.py"], "raises.py:3: Odd: so"),
    "study exits": (["study", "run", "exits.py"], "exits.py:4: sys.exit() was called"),
    "study quits": (["study", "run", "quits.py"], "quits.py:1: sys.exit(0) was called"),
    "study's syntax": (["study", "run", "syntax.py"], "`syntax.py`, line 2: this is not Python: invalid syntax"),
    "study's bytes": (["study", "run", "nul.py"], "`nul.py`"),
    "study asks": (["study", "run", "asks.py"], "asks.py"),
    "study asserts": (["study", "report", "assertion.py"], "assertion.py:2: AssertionError"),
    "study misbuilt": (["study", "run", "configured.py"], "configured.py:3: `model`: expected a model"),
    "report is a folder": (["study", "run", "empty.py", "--report", "."], "`--report .`: expected the name of a file"),
    "report behind a file": (["study", "run", "empty.py", "--report", "text.txt/a.html"], "text.txt"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD)
def test_bad_words_are_one_clear_line(words, message, files, capsys):
    before = listing(files)
    with pytest.raises(SystemExit) as done:
        main([str(word) for word in words])
    said = capsys.readouterr()
    assert done.value.code == 2, said
    assert message in " ".join(said.err.split())
    assert "Traceback" not in said.err + said.out
    assert said.err.count("jensen: ") == 1
    assert said.err.count("\n") == 1
    assert listing(files) == before


def test_the_traceback_is_there_for_who_asks(monkeypatch, capsys):
    monkeypatch.setenv("JENSEN_TRACEBACK", "1")
    for words in (user("Breaks"), ["study", "run", "exits.py"]):
        with pytest.raises(SystemExit) as done:
            main([str(word) for word in words])
        assert done.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith("Traceback")
        assert said.splitlines()[-1].startswith("jensen: ")
