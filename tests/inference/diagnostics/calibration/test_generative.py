"""Data drawn in the place of those given: of recursions too, with inputs, masks and missing values as they were."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from jensen.inference.diagnostics.calibration.generative import GenerativeModel
from jensen.inference.errors import DataError, ModelError
from jensen.models import PPCA, BayesianLogisticRegression, GaussianMixture
from jensen.models.regression.linear_regression import BayesianLinearRegression

pytestmark = pytest.mark.usefixtures("float64")


def test_inputs_stay_and_what_is_observed_is_drawn() -> None:
    x, y = torch.randn(400, 2), torch.full((400,), 7.0)
    model = GenerativeModel(BayesianLinearRegression(2, noise_scale=0.1), {"x": x, "y": y})
    one, again, other = (model.draw(seed) for seed in (3, 3, 4))
    assert torch.equal(one.data["x"], x)
    residuals = one.data["y"] - x @ one.latents["w"]
    assert abs(residuals.std() - 0.1) < 4 * 0.1 / 800**0.5
    assert torch.equal(one.data["y"], again.data["y"]) and not torch.equal(one.data["y"], other.data["y"])
    assert (y == 7.0).all()


def test_many_draws_have_the_priors_moments() -> None:
    model = GenerativeModel(BayesianLinearRegression(1, prior_scale=2.0), {"x": torch.ones(1, 1), "y": torch.zeros(1)})
    drawn = torch.stack([model.draw(seed).data["y"] for seed in range(200)])
    assert abs(drawn.mean()) < 4 * (5 / 200) ** 0.5  # y ~ N(0, 2^2 + 1)
    assert abs(drawn.var() / 5 - 1) < 4 * (2 / 200) ** 0.5


def recursion(y: Tensor) -> None:
    """The first value is given; each of the others is observed with its predecessor read from the data."""
    phi = pyro.sample("phi", dist.Uniform(0.5, 0.9))
    pyro.sample("y", dist.Normal(phi * y[:-1], 0.01).to_event(1), obs=y[1:])


def loop(y: Tensor) -> None:
    """The same, a site a column, on rows."""
    phi = pyro.sample("phi", dist.Uniform(0.5, 0.9))
    with pyro.plate("data", len(y)):
        for t in range(1, y.shape[1]):
            pyro.sample(f"y_{t}", dist.Normal(phi * y[:, t - 1], 0.01), obs=y[:, t])


def test_a_recursion_on_the_data_is_drawn_as_one() -> None:
    y = torch.full((30,), 100.0)
    simulated = GenerativeModel(recursion, {"y": y}).draw(0)
    phi, drawn = simulated.latents["phi"], simulated.data["y"]
    assert drawn[0] == 100.0
    assert ((drawn[1:] - phi * drawn[:-1]).abs() < 0.05).all()
    assert abs(drawn[20] / (100 * phi**20) - 1) < 0.2  # and not phi * 100


def test_parts_of_an_argument_are_put_back_where_they_were() -> None:
    simulated = GenerativeModel(loop, {"y": torch.full((5, 8), 100.0)}).draw(0)
    phi, drawn = simulated.latents["phi"], simulated.data["y"]
    assert (drawn[:, 0] == 100.0).all()
    assert ((drawn[:, 1:] - phi * drawn[:, :-1]).abs() < 0.05).all()


def test_missing_values_stay_missing() -> None:
    x = torch.randn(50, 4)
    x[torch.rand(50, 4) < 0.2] = torch.nan
    drawn = GenerativeModel(PPCA(4, 2), {"x": x}).draw(0).data["x"]
    assert torch.equal(drawn.isnan(), x.isnan())
    assert not (drawn == x)[~x.isnan()].any()


def test_masked_entries_stay() -> None:
    def padded(x: Tensor, lengths: Tensor) -> None:
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        used = torch.arange(x.shape[1]) < lengths[:, None]
        steps = pyro.plate("steps", x.shape[1], dim=-1)
        with pyro.plate("data", len(x), dim=-2), steps, pyro.poutine.mask(mask=used):
            pyro.sample("x", dist.Exponential(rate), obs=x)

    x, lengths = torch.full((6, 5), 9.0), torch.tensor([5.0, 4, 3, 2, 1, 5])
    drawn = GenerativeModel(padded, {"x": x, "lengths": lengths}).draw(0).data["x"]
    used = torch.arange(5) < lengths[:, None]
    assert (drawn[~used] == 9.0).all() and (drawn[used] != 9.0).all()


def test_unobserved_entries_are_latents_and_computed_values_are_none() -> None:
    seen = torch.tensor([True, True, False, True])

    def model(x: Tensor) -> None:
        m = pyro.deterministic("twice", 2 * pyro.sample("m", dist.Normal(0.0, 1.0)))
        with pyro.plate("data", 4):
            pyro.sample("x", dist.Normal(m, 0.1), obs=x, obs_mask=seen)

    simulated = GenerativeModel(model, {"x": torch.full((4,), 50.0)}).draw(0)
    assert simulated.data["x"][2] == 50.0 and (simulated.data["x"][seen] < 20).all()
    assert set(simulated.latents) == {"m", "x_unobserved"}
    mask = simulated.masks["x_unobserved"]
    assert mask is not None and torch.equal(mask, ~seen)


def test_what_a_simulation_is_of() -> None:
    x = torch.randn(20, 3)
    mixture = GenerativeModel(GaussianMixture(2, 3), {"x": x})
    assert mixture.is_local and mixture.has_parameters
    regression = GenerativeModel(BayesianLogisticRegression(3), {"x": x, "y": torch.zeros(20)})
    assert not regression.is_local and not regression.has_parameters


def improper(x: Tensor) -> None:
    m = pyro.sample("m", dist.ImproperUniform(dist.constraints.real, (), ()))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(m, 1.0), obs=x)


def factor(x: Tensor) -> None:
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    pyro.factor("penalty", -m.abs())
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(m, 1.0), obs=x)


def scaled(x: Tensor) -> None:
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)), pyro.poutine.scale(scale=0.5):
        pyro.sample("x", dist.Normal(m, 1.0), obs=x)


def computed(x: Tensor) -> None:
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(m, 1.0), obs=x.mean())


def twice(x: Tensor) -> None:
    """Of zeros it observes the same numbers."""
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(m, 1.0).expand([6]).to_event(1), obs=2 * x)


def repeated(x: Tensor) -> None:
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(m, 1.0).expand([3, 6]).to_event(2), obs=x.expand(3, 6))


def nothing(x: Tensor) -> None:
    pyro.sample("m", dist.Normal(x.mean(), 1.0))


def known(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)


def circular(x: Tensor) -> None:
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(m + 2 * x.flip(0), 1.0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (improper, "`m` of `improper` has an improper prior.*proper one"),
        (factor, "`penalty` of `factor` is a `pyro.factor`"),
        (scaled, "`x` of `scaled` is scaled by hand.*Remove"),
        (computed, "`x` of `computed` observes something that is computed.*outside of the model"),
        (twice, "`x` of `twice` observes something that is computed"),
        (repeated, "`x` of `repeated` observes something that is computed"),
        (nothing, "`nothing` observes none of the data"),
        (known, "`known` has no latents"),
        (circular, "`circular` draws no data.*`x` depend on themselves"),
    ],
)
def test_what_cannot_be_simulated(model: object, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        GenerativeModel(model, {"x": torch.zeros(6) if model is twice else torch.randn(6)}).draw(0)


def test_rows_that_count_twice() -> None:
    batch = {"x": torch.randn(4, 2), "weight": torch.tensor([1.0, 2.0, 1.0, 1.0])}
    with pytest.raises(DataError, match=r"`weight` says that rows count.*Leave `weight` out"):
        GenerativeModel(GaussianMixture(2, 2), batch)
    GenerativeModel(GaussianMixture(2, 2), {**batch, "weight": torch.ones(4)}).draw(0)
