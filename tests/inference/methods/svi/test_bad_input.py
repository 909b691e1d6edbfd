"""Data and pairs that cannot be fitted are refused before the first step, with what to change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from jensen.inference import IWAE, SVI, DataError, ModelError, Renyi, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from jensen.models import LatentVariableModel

X, Y = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64)


def with_value(value: float) -> torch.Tensor:
    x = X.clone()
    x[2, 1] = value
    return x


BAD_DATA: dict[str, tuple[Any, str]] = {
    "empty": ({"x": X[:0], "y": Y[:0]}, "`x`.*empty|empty.*`x`"),
    "no arrays": ({}, "empty|`x`"),
    "nan": ({"x": with_value(math.nan), "y": Y}, "`x`.*(NaN|finite)"),
    "infinity": ({"x": with_value(math.inf), "y": Y}, "`x`.*(inf|finite)"),
    "text": ({"x": np.array([["a"] * 4] * 6), "y": Y}, "`x`"),
    "complex": ({"x": X.to(torch.complex64), "y": Y}, "`x`"),
    "objects": ({"x": pandas.DataFrame({"a": ["u"] * 6}), "y": Y}, "`x`"),
    "missing key": ({"y": Y}, "`x`"),
    "missing observation": ({"x": X}, "`y`"),
    "unknown key": ({"x": X, "y": Y, "z": Y}, "`z`"),
    "misspelt key": ({"xx": X, "y": Y}, r"Did you mean `x`\?|`x`"),
    "unequal lengths": ({"x": X, "y": Y[:5]}, "unequal lengths: `x` has 6, `y` has 5"),
    "feature count": ({"x": X[:, :3], "y": Y}, "`x`.*4.*3"),
    "labels": ({"x": X, "y": Y + 1}, "`y`.*0"),
    "a string": ("data.csv", "`data` must be a tensor, an array, a DataFrame"),
    "nothing": (None, "`data` must be a tensor, an array, a DataFrame"),
}


@pytest.mark.parametrize(("data", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_data_that_cannot_be_used(logistic: Any, data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        SVI(Trace_ELBO(), steps=2).fit(logistic[0], data)
    if isinstance(data, dict) and data:
        with pytest.raises(DataError, match=message):
            SVI(Trace_ELBO(), steps=2, compile=False).fit(*logistic, validation=data)


def test_a_bad_batch_in_the_middle_of_a_stream(logistic: Any) -> None:
    x = X.clone()
    x[5, 0] = math.nan
    loader = DataLoader(TensorDataset(x, Y), batch_size=2)
    with pytest.raises(DataError, match="`x`"):
        SVI(Trace_ELBO(), steps=9, compile=False).fit(logistic[0], loader)


class Plain(LatentVariableModel):
    """A pair whose faults the tests choose."""

    def __init__(
        self, model_plate: str = "data", guide_site: str = "z", size: int | None = None, reparam: bool = True
    ) -> None:
        super().__init__()
        self.model_plate, self.guide_site, self.size, self.reparam = model_plate, guide_site, size, reparam
        self.loc = nn.Parameter(torch.tensor(0.1))

    def model(self, x: torch.Tensor | None = None) -> torch.Tensor:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate(self.model_plate, self.size or len(x)):
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x: torch.Tensor | None = None) -> None:
        if self.guide_site == "z" or self.guide_site == "extra":
            q = dist.Normal(self.loc, 1.0)
            pyro.sample("z", q if self.reparam else q.has_rsample_(False))
        if self.guide_site != "z":
            pyro.sample(self.guide_site, dist.Normal(0.0, 1.0))


ROWS = {"x": torch.randn(12, dtype=torch.float64)}


def refuses(message: str, model: Any, data: Any = ROWS, objective: Any = None, **options: Any) -> None:
    with pytest.raises(ModelError, match=message):
        SVI(objective or Trace_ELBO(), **{"steps": 3, "compile": False, **options}).fit(model, data)


def test_the_guide_lacks_a_site() -> None:
    refuses(
        "lacks the model's latent `z`, and samples `zz`, which the model does not have. Rename `zz` in the guide",
        Plain(guide_site="zz"),
    )


def test_the_guide_has_a_site_too_many() -> None:
    refuses("The guide samples `extra`, which the model does not have.*is_auxiliary", Plain(guide_site="extra"))


def test_a_site_without_pathwise_gradient_in_a_mean_field_objective() -> None:
    refuses(
        "`TraceMeanField_ELBO` needs pathwise gradients, and the guide's site `z`",
        Plain(reparam=False),
        objective=TraceMeanField_ELBO(),
    )


def test_importance_weights_with_a_global_latent_in_mini_batches(logistic: Any) -> None:
    for objective in (IWAE(3), Renyi(0.5, 3)):
        name = type(objective).__name__
        refuses(
            f"`{name}` with global latents .*is a bound only on the full batch.*Drop `batch_size`",
            *logistic,
            objective=objective,
            batch_size=10,
        )


def test_mini_batches_without_a_data_plate() -> None:
    refuses(
        'No plate named `data` is around `x`.*Rename the plate `rows` to "data": `with pyro.plate',
        Plain(model_plate="rows"),
        batch_size=4,
    )


def test_an_automatic_guide_over_local_latents_in_mini_batches() -> None:
    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    for guide in (None, "normal", "lowrank", pyro.infer.autoguide.AutoNormal):
        refuses("`z`.*mini-batches.*amortised `guide`", model, batch_size=4, guide=guide)
    SVI(Trace_ELBO(), steps=3, compile=False).fit(model, ROWS)


def test_a_data_plate_of_another_size() -> None:
    refuses(
        r"value of shape \(12,\), which does not fit its distribution's batch shape \(5,\) .*Declare the data plate",
        Plain(size=5),
    )

    def first_five(x: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 5):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:5])

    refuses("The plate `data` has size 5, and the batch has 12 data", first_five)


def test_enumeration_of_nothing() -> None:
    refuses("`TraceEnum_ELBO` sums discrete latents out, and this model has none", Plain(), objective=TraceEnum_ELBO())


def test_a_global_discrete_latent_in_mini_batches() -> None:
    def model(x: torch.Tensor) -> None:
        loc = pyro.param("loc", torch.tensor(0.5))
        c = pyro.sample("c", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(c * loc, 1.0), obs=x)

    refuses("The global discrete latent `c` is summed out together with all the data", model, batch_size=4)


def test_something_that_is_no_model() -> None:
    refuses("`model` must be a LatentVariableModel or a callable, got int", 3)
