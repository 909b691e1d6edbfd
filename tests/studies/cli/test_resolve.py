"""Words of the command line: found, or refused with the nearest right one."""

from __future__ import annotations

import numpy
import pytest
import torch

from jensen.inference import EM, SVI
from jensen.inference.errors import ConfigurationError, DataError
from jensen.models import VAE, BayesianLogisticRegression, GaussianMixture
from jensen.studies.cli.model_options import build_model
from jensen.studies.cli.resolve import find_model, find_object, load_file, parse_settings
from jensen.studies.data.sources import load_source

USER = """
import pyro, torch
import pyro.distributions as dist
from jensen.models import LatentVariableModel
from helper_of_user import SCALE

class Mean(LatentVariableModel):
    def __init__(self, scale=SCALE):
        super().__init__()
        self.scale = scale

    def model(self, x=None):
        m = pyro.sample("m", dist.Normal(0.0, self.scale))
        with pyro.plate("data", 1 if x is None else len(x)):
            return pyro.sample("x", dist.Normal(m, 1.0), obs=x)
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    (tmp_path / "user_model.py").write_text(USER)
    (tmp_path / "helper_of_user.py").write_text("SCALE = 3.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    return tmp_path


def model(text):
    return find_model(text)


def test_models_are_found_by_name_module_and_file(user):
    assert model("GaussianMixture") is GaussianMixture
    assert model("jensen.models:VAE") is VAE
    assert model("user_model:Mean")().scale == 3.0
    assert model(f"{user}/user_model.py:Mean")().scale == 3.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("GausianMixture", "`GausianMixture` is no model of jensen. Did you mean `GaussianMixture`?"),
        ("LatentVariableModel", "is no model of jensen"),
        ("no_such_module:Model", "`no_such_module`: no such module here or among the installed packages"),
        ("jensen.models:VAEE", "`VAEE` is not in `jensen.models`. Did you mean `VAE`?"),
        ("missing.py:Model", "`missing.py`: expected a Python file, found none"),
        (":Model", "expected MODULE:NAME"),
        ("math:pi", "`math:pi`: expected a model or what makes one, got float"),
    ],
)
def test_what_is_no_model_is_refused(text, message):
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        model(text)


def test_a_file_that_fails_says_so_with_its_own_error(tmp_path):
    (tmp_path / "bad.py").write_text("import module_that_is_nowhere\n")
    with pytest.raises(ModuleNotFoundError, match="module_that_is_nowhere"):
        load_file(tmp_path / "bad.py")
    assert find_object("math:pi") == pytest.approx(3.14159, abs=1e-5)


def test_settings_are_literals_or_text():
    settings = ["a=8", "b=1e-3", "c=gaussian", "d=[1, 2]", "e=true", "f=None", "g=x=y"]
    expected = {"a": 8, "b": 1e-3, "c": "gaussian", "d": [1, 2], "e": True, "f": None, "g": "x=y"}
    assert parse_settings(settings) == expected
    with pytest.raises(ConfigurationError, match="`--set latent`: expected KEY=VALUE"):
        parse_settings(["latent"])


def test_sizes_of_the_data_are_filled_in():
    assert build_model(BayesianLogisticRegression, {}, {"num_features": 30, "data_shape": (30,)}).num_features == 30
    assert build_model(BayesianLogisticRegression, {"num_features": 5}, {"num_features": 30}).num_features == 5
    assert build_model(VAE, {"latent_dim": 2, "hidden": [8]}, {"data_shape": (4, 4)}).data_shape == (4, 4)
    with pytest.raises(ConfigurationError, match="`latent_dim` of VAE has no default: give it with --set latent_dim="):
        build_model(VAE, {}, {"data_shape": (64,)})
    with pytest.raises(ConfigurationError, match=r"is not an option of VAE\. Did you mean `latent_dim`"):
        build_model(VAE, {"latent_dims": 3}, {"data_shape": (64,)})
    with pytest.raises(ConfigurationError, match="`--set`: expected none for a model that is built already"):
        build_model(BayesianLogisticRegression(3), {"num_features": 3})


def test_npz_files(tmp_path):
    numpy.savez(tmp_path / "arrays.npz", x=numpy.ones((3, 2)), y=numpy.array([0, 1, 2]))
    data = load_source(str(tmp_path / "arrays.npz"))
    assert data.arrays["x"].dtype == torch.float64  # as it stands in the file: a fit rounds it, once
    assert data.arrays["y"].dtype == torch.int64
    numpy.savez(tmp_path / "text.npz", x=numpy.array(["a", "b"]))
    with pytest.raises(DataError, match="expected numbers in the array `x`"):
        load_source(str(tmp_path / "text.npz"))
    numpy.savez(tmp_path / "unequal.npz", x=numpy.ones(3), y=numpy.ones(2))
    with pytest.raises(DataError, match="equal length"):
        load_source(str(tmp_path / "unequal.npz"))
    numpy.savez(tmp_path / "pickled.npz", x=numpy.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"expected an \.npz file of numeric arrays"):
        load_source(str(tmp_path / "pickled.npz"))
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"expected an \.npz file of numeric arrays"):
        load_source(str(tmp_path / "broken.npz"))
    with pytest.raises(ConfigurationError, match=r"`--target`: expected with a \.csv file only"):
        load_source(str(tmp_path / "arrays.npz"), columns={"y": "y"})


def test_shipped_data_sets():
    assert load_source("wine").arrays["x"].shape == (178, 13)
    with pytest.raises(ConfigurationError, match=r"a \.csv or an \.npz file\. Did you mean `wine`"):
        load_source("wines")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load_source("nowhere.csv")
    with pytest.raises(ConfigurationError, match="got it with the data set `wine`"):
        load_source("wine", columns={"y": "y"})


def test_methods_are_found_with_the_options_that_were_given():
    from jensen.studies.cli.resolve import resolve_method

    svi = resolve_method("SVI", {"objective": "IWAE(num_particles=7)", "steps": 5, "lr": None}, False)
    assert svi.objective.num_particles == 7 and svi.steps == 5 and svi.lr == 0.01
    assert resolve_method("EM", {"objective": None, "steps": 5}, False).steps == 5

    with pytest.raises(ConfigurationError, match="`--lr` is no option of EM: leave it out"):
        resolve_method("EM", {"lr": 0.1}, False)
    with pytest.raises(ConfigurationError, match=r"`CAV` is no method\. Did you mean `CAVI`\?"):
        resolve_method("CAV", {}, False)


@pytest.mark.parametrize("method", [SVI, EM])
def test_steps_are_the_methods_own_unless_they_are_given(method):
    from jensen.studies.cli.resolve import resolve_method

    name = method.__name__
    assert resolve_method(name, {"steps": None}, False).steps == method().steps
    assert resolve_method(name, {"steps": "12"}, False).steps == 12
    assert resolve_method("SVI", {"steps": "auto"}, False) == SVI("Trace_ELBO", progress=False)
    with pytest.raises(ConfigurationError, match="`steps` must be a positive whole number"):
        resolve_method(name, {"steps": "many"}, False)
    if method is EM:
        with pytest.raises(ConfigurationError, match="`steps` must be a positive whole number"):
            resolve_method(name, {"steps": "auto"}, False)
