"""Faults of the data, and batches invented where there are none."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import ConfigurationError, ModelError
from jensen.inference.doctor import examine
from jensen.models import BayesianLogisticRegression, GaussianMixture, LatentVariableModel

X = torch.linspace(-1, 1, 24).reshape(8, 3)
Y = torch.tensor([0.0, 1.0] * 4)


def broken(**changes):
    data = {"x": X.clone(), "y": Y.clone()}
    data.update(changes)
    return {name: value for name, value in data.items() if value is not None}


def with_nan():
    x = X.clone()
    x[2, 1] = float("nan")
    return x


DATA = {
    "NaN": (broken(x=with_nan()), "first is a NaN in row 2, column 1"),
    "labels": (broken(y=Y + 1), r"labels in {0, 1}, got 2"),
    "columns": (broken(x=X[:, :2]), r"shape \(N, 3\)"),
    "lengths": (broken(y=Y[:5]), "`x` has 8, `y` has 5"),
    "missing": (broken(x=None), "also needs `x`"),
    "unknown": (broken(z=Y), "takes no argument `z`"),
    "unobserved": (X, "Nothing is observed: .* Pass `y` in the data"),
    "not data": ("breast_cancer", "got str"),
}


@pytest.mark.parametrize(("data", "message"), DATA.values(), ids=DATA)
def test_data_are_at_fault_and_the_pair_is_examined_all_the_same(data, message):
    import re

    report = examine(BayesianLogisticRegression(3), None, data)
    assert {f.code for f in report.faults} == {"data"}
    assert any(re.search(message, str(f)) for f in report.faults), report.faults
    assert [row.name for row in report.sites][:1] == ["w"]


def test_several_faults_of_the_data_are_all_found():
    data = {"x": with_nan(), "y": Y[:5] + 1}
    messages = " ".join(str(f) for f in examine(BayesianLogisticRegression(3), None, data).faults)
    for words in ("NaN in row 2", "unequal lengths", "labels in {0, 1}"):
        assert words in messages


def observes_all(x):
    w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("counts", dist.Poisson(w.exp()), obs=x)


def named_otherwise(data=None):
    w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 1 if data is None else len(data)):
        pyro.sample("counts", dist.Poisson(w.exp()), obs=data)


@pytest.mark.parametrize("model", [observes_all, named_otherwise])
def test_data_are_invented_in_the_support_of_what_observes_them(model):
    report = examine(model)
    assert report.ok, report
    assert report.data.startswith("invented, 20 data")


def test_inputs_are_invented_in_the_sizes_the_model_was_built_with():
    assert "x: 20 x 7, y: 20" in examine(BayesianLogisticRegression(7)).data
    assert "x: 21 x 20, y: 21" in examine(BayesianLogisticRegression(20)).data


def test_without_data_that_can_be_invented_they_are_asked_for():
    def model(x, table):
        if x.ndim != 4 or table.ndim != 5:
            raise ValueError("no")

    with pytest.raises(ConfigurationError, match=r"`data` is needed \(`--data`.*`x`, `table`"):
        examine(model)


def test_what_is_no_model_or_no_guide_is_refused():
    with pytest.raises(ModelError, match="must be a LatentVariableModel or a callable"):
        examine(3)
    with pytest.raises(ConfigurationError, match="Did you mean `normal`"):
        examine(BayesianLogisticRegression(3), "norml")


def test_a_program_that_cannot_run_on_its_data_says_where():
    class Wrong(LatentVariableModel):
        def model(self, x=None):
            w = pyro.sample("w", dist.Normal(torch.zeros(5), 1.0).to_event(1))
            with pyro.plate("data", 1 if x is None else len(x)):
                return pyro.sample("y", dist.Normal(x @ w, 1.0), obs=x[:, 0])

    report = examine(Wrong(), None, X)
    assert [f.code for f in report.faults] == ["data-shape"]
    assert "after the site `w` (test_data.py:" in report.faults[0].message
    assert "compare the constructor's sizes" in report.faults[0].cure


def test_one_datum_and_streams_are_examined():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(12, 2)), batch_size=6)
    assert examine(GaussianMixture(2, 2), None, loader).ok
    assert examine(observes_all, None, torch.ones(1)).ok
