"""Right posteriors rank uniformly, wrong ones do not; simulations resume, run in processes, and fail in the open."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from jensen.inference import EM, NUTS, Fit, Laplace, simulation_based_calibration
from jensen.inference.diagnostics.calibration.calibration import Calibration
from jensen.inference.diagnostics.calibration.generative import GenerativeModel
from jensen.inference.diagnostics.calibration.ranks import LOG_LIKELIHOOD, independent_draws, places_among
from jensen.inference.errors import CheckpointError, ConfigurationError, DataError, ModelError
from jensen.inference.seeding import derive_seed
from jensen.models import PPCA, BayesianLogisticRegression
from jensen.models.factors.linear_gaussian import LinearGaussian
from jensen.models.regression.linear_regression import BayesianLinearRegression

pytestmark = pytest.mark.usefixtures("float64")
MODEL = BayesianLinearRegression(2)


def inputs(num: int = 10) -> dict[str, torch.Tensor]:
    """Two inputs with a correlation of 0.97, and outcomes that only have a shape."""
    x = torch.randn(num, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.97 * x[:, 0] + 0.25 * x[:, 1]
    return {"x": x, "y": torch.zeros(num)}


@dataclasses.dataclass(frozen=True)
class ClosedForm:
    """Draws from the exact posterior, from the best mean-field normal, from one that is moved, or from the prior."""

    kind: str = "exact"
    failing: tuple[int, ...] = ()
    calls: list[int] = dataclasses.field(default_factory=list)

    def configuration(self) -> dict[str, Any]:
        return {"method": "ClosedForm", "kind": self.kind}

    def fit(self, model: Any, data: Any, *, seed: int = 0, checkpoint: Any = None) -> Any:
        self.calls.append(seed)
        if len(self.calls) in self.failing:
            raise RuntimeError("the matrix is singular")
        exact = model.exact_posterior(data)["w"]
        normal: Any = torch.distributions.Normal
        found = {
            "exact": lambda: exact,
            "mean field": lambda: normal(exact.mean, exact.precision_matrix.diagonal().rsqrt()),
            "moved": lambda: normal(exact.mean + 0.5 * exact.stddev, exact.stddev),
            "prior": lambda: normal(torch.zeros(2), torch.ones(2)),
        }[self.kind]()

        def posterior(num: int, data: Any = None, seed: int = 0) -> dict[str, torch.Tensor]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return {"w": found.sample((num,))}

        return SimpleNamespace(posterior=posterior, status="converged", info={}, draws=None)


def calibration(kind: str, num: int) -> Calibration:
    return simulation_based_calibration(MODEL, ClosedForm(kind), inputs(), num_simulations=num, seed=1)


@pytest.fixture(scope="module")
def exact() -> Calibration:
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return calibration("exact", 200)
    finally:
        torch.set_default_dtype(dtype)


def test_the_exact_posterior_is_flat(exact: Calibration) -> None:
    assert exact.calibrated and exact.p_value > 0.05
    assert set(exact.quantities) == {"w[0]", "w[1]", LOG_LIKELIHOOD}
    assert "no miscalibration found" in repr(exact)
    for row in exact.coverage((0.5, 0.8, 0.95)).itertuples():
        assert abs(row.coverage - row.level) < 4 * np.sqrt(row.level * (1 - row.level) / 200)
        assert row.lower < row.coverage < row.upper
        assert row.stderr == pytest.approx(np.sqrt(row.coverage * (1 - row.coverage) / 200))


def test_ranks_are_tidy_and_in_range(exact: Calibration) -> None:
    ranks = exact.ranks
    assert len(ranks) == 600 and set(ranks.columns) == {"simulation", "quantity", "rank", "place", "num_draws"}
    assert ranks["rank"].between(0, 99).all() and (ranks["num_draws"] == 99).all()
    assert ((ranks["place"] * 100 - ranks["rank"]).between(0, 1)).all()
    assert ranks["rank"].min() < 5 and ranks["rank"].max() > 94


def test_mean_field_on_a_correlated_posterior_is_too_narrow() -> None:
    """Its sd is the posterior's times sqrt(1 - r^2), and so its 90 % intervals hold what a normal says they do."""
    found = calibration("mean field", 100)
    assert not found.calibrated and found.p_value < 1e-6
    table = found.table.set_index("quantity")
    assert all(table.loc[f"w[{i}]", "reading"] == "draws too narrow" for i in (0, 1))
    posterior = MODEL.exact_posterior(inputs())["w"]  # its covariance is that of all outcomes
    factor = float(posterior.precision_matrix.diagonal().rsqrt()[0] / posterior.stddev[0])
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = float(2 * normal.cdf(normal.icdf(torch.tensor(0.95)) * factor) - 1)
    share = found.coverage((0.9,)).set_index("quantity").loc["w[0]", "coverage"]
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 100)
    assert "MISCALIBRATED at `w[" in repr(found) and "draws too narrow" in repr(found)


def test_a_moved_posterior_is_read_as_such() -> None:
    found = calibration("moved", 80)
    assert found.table.set_index("quantity").loc["w[0]", "reading"] == "draws too high"
    assert not found.calibrated


def test_the_log_likelihood_tells_the_prior_from_the_posterior() -> None:
    """Draws of the prior rank uniformly in every latent: only a quantity of the data shows that they ignore them."""
    found = calibration("prior", 80)
    table = found.table.set_index("quantity")
    assert table.loc["w[0]", "p_adjusted"] > 0.01
    assert found.worst == LOG_LIKELIHOOD and found.p_value < 1e-6


def closed_form_places(seed: int, number: int) -> np.ndarray:
    """Where the truth of a simulation lies in the exact posterior's marginals."""
    own = derive_seed(derive_seed(seed, "calibration", number), "data")
    simulated = GenerativeModel(MODEL, inputs()).draw(own)
    posterior = MODEL.exact_posterior(simulated.data)["w"]
    normal = torch.distributions.Normal(posterior.mean, posterior.stddev)
    return normal.cdf(simulated.latents["w"]).numpy()


@pytest.mark.parametrize("method", [Laplace(), NUTS(steps=150, num_warmup=100, num_chains=2)], ids=["Laplace", "NUTS"])
def test_methods_rank_the_truth_where_the_exact_posterior_has_it(method: Any) -> None:
    found = simulation_based_calibration(MODEL, method, inputs(), num_simulations=4, seed=5)
    for record in found.records:
        expected = closed_form_places(5, record.simulation)
        for i in (0, 1):
            error = np.sqrt(expected[i] * (1 - expected[i]) / record.num_draws) + 1 / record.num_draws
            assert abs(record.places[f"w[{i}]"] - expected[i]) < 4.5 * error
    assert len(found.records) == 4 and sum(found.statuses.values()) == 4


def test_chains_are_worth_as_many_draws_as_they_are_independent() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(4, 2_000))
    slow = np.zeros_like(noise)
    for t in range(1, 2_000):
        slow[:, t] = 0.9 * slow[:, t - 1] + noise[:, t]
    fit = SimpleNamespace(draws={"w": torch.tensor(slow.reshape(-1))}, info={"chains": 4})
    worth = independent_draws(fit)
    assert worth is not None and 0.6 < worth / (8_000 * 0.1 / 1.9) < 1.6  # (1 - r) / (1 + r) of them
    fast = SimpleNamespace(draws={"w": torch.tensor(noise.reshape(-1))}, info={"chains": 4})
    assert independent_draws(fast) > 6_000
    assert independent_draws(SimpleNamespace(draws=None, info={})) is None


def test_places_of_whole_numbers_and_of_few_draws_are_uniform() -> None:
    generator = np.random.default_rng(0)
    draws = generator.integers(0, 2, (7, 4_000)).astype(float)
    place = places_among(generator.integers(0, 2, 4_000).astype(float), draws, generator)
    assert ((place > 0) & (place < 1)).all()
    assert np.abs(np.histogram(place, 8, (0, 1))[0] / 500 - 1).max() < 4 * np.sqrt(7 / 8 / 500)


def test_one_fit_serves_latents_of_single_data() -> None:
    x = torch.randn(60, 4) @ torch.randn(4, 4)
    found = simulation_based_calibration(PPCA(4, 2), EM(), x, num_simulations=200)
    assert found.amortised and found.num_simulations == 200 and found.calibrated
    assert found.quantities == ["z[0]", "z[1]", LOG_LIKELIHOOD]
    assert found.p_value > 0.001 and "one fit" in repr(found)


def test_one_fit_with_a_guide_that_is_too_narrow() -> None:
    model = LinearGaussian(4, 2)
    model.set_exact_guide()
    x = model.generate(50, seed=0)["x"]

    class Given:
        """A fit that leaves the pair as it is, but for the guide's scale."""

        def __init__(self, factor: float) -> None:
            self.factor = factor

        def fit(self, model: Any, data: Any, *, seed: int = 0) -> Any:
            own = copy.deepcopy(model)
            with torch.no_grad():
                own.guide_scale = own.guide_scale * self.factor
            return Fit("Given", {}, own, own.guide, pandas.DataFrame({"step": [1]}), data=data, status="unknown")

    right, narrow = (simulation_based_calibration(model, Given(f), x, num_simulations=150) for f in (1.0, 0.5))
    assert right.amortised and right.calibrated
    assert not narrow.calibrated and narrow.table["reading"].str.contains("too narrow").any()


def test_a_stopped_calibration_goes_on_and_returns_the_same(tmp_path: Path) -> None:
    whole = simulation_based_calibration(MODEL, ClosedForm(), inputs(), num_simulations=6)
    first, second = ClosedForm(), ClosedForm()
    simulation_based_calibration(MODEL, first, inputs(), num_simulations=4, store=tmp_path / "s")
    (tmp_path / "s" / "simulation-000002.json").unlink()  # as if it had been stopped before it was written
    (tmp_path / "s" / "simulation-000001.json").write_text("{")  # and one is damaged
    with pytest.warns(UserWarning, match="Simulation 1 is run again"):
        found = simulation_based_calibration(MODEL, second, inputs(), num_simulations=6, store=tmp_path / "s")
    assert len(first.calls) == 4 and len(second.calls) == 4  # 1, 2, 4 and 5
    assert found.records == whole.records
    third = ClosedForm(failing=(1,))
    assert (
        simulation_based_calibration(MODEL, third, inputs(), num_simulations=5, store=tmp_path / "s").records
        == (whole.records[:5])
    )
    assert not third.calls


@pytest.mark.parametrize(
    "other",
    [{"seed": 3}, {"num_draws": 20}, {"method": ClosedForm("prior")}, {"model": BayesianLinearRegression(2, 3.0)}],
    ids=["seed", "num_draws", "method", "model"],
)
def test_a_folder_of_other_simulations_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    given = {"model": MODEL, "method": ClosedForm(), "data": inputs(), "num_simulations": 2, "store": tmp_path}
    simulation_based_calibration(**given)
    with pytest.raises(CheckpointError, match=r"holds simulations of something else.*there"):
        simulation_based_calibration(**{**given, **other})


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    calls = []

    def third(latents: Any, data: Any) -> float:
        calls.append(1)
        if len(calls) > 2 * 6:
            raise KeyboardInterrupt
        return float(latents["w"].sum())

    given = {"num_simulations": 4, "num_draws": 5, "store": tmp_path, "quantities": {"sum": third}}
    with pytest.raises(KeyboardInterrupt):
        simulation_based_calibration(MODEL, ClosedForm(), inputs(), **given)
    assert len(list(tmp_path.glob("simulation-*.json"))) == 2
    method = ClosedForm()
    given["quantities"] = {"sum": lambda latents, data: latents["w"].sum()}
    found = simulation_based_calibration(MODEL, method, inputs(), **given)
    assert len(method.calls) == 2 and found.num_simulations == 4 and "sum" in found.quantities


def test_failures_are_counted_and_said() -> None:
    found = simulation_based_calibration(MODEL, ClosedForm(failing=(1, 4)), inputs(), num_simulations=8)
    assert found.num_simulations == 6 and len(found.records) == 8
    assert found.failures == dict.fromkeys((0, 3), "RuntimeError: the matrix is singular")
    assert found.statuses == {"failed": 2, "converged": 6}
    assert "2 of 8 fits FAILED" in repr(found) and "the matrix is singular" in repr(found)
    assert set(found.ranks["simulation"]) == {1, 2, 4, 5, 6, 7}


def test_what_always_fails_is_given_up_at_once() -> None:
    method = ClosedForm(failing=tuple(range(1, 100)))
    with pytest.raises(ModelError, match=r"None of 3 simulations could be fitted.*the matrix is singular"):
        simulation_based_calibration(MODEL, method, inputs(), num_simulations=50)
    assert len(method.calls) == 3


def test_what_fits_say_of_themselves_is_counted() -> None:
    class Doubtful(ClosedForm):
        def fit(self, *args: Any, **options: Any) -> Any:
            warnings.warn("the step size is large", UserWarning, stacklevel=1)
            fit = super().fit(*args, **options)
            fit.status, fit.info = "not converged", {"reliability": {"reliable": False}}
            return fit

    found = simulation_based_calibration(MODEL, Doubtful(), inputs(), num_simulations=3)
    assert found.num_unreliable == 3
    for said in ("3 not converged", "3 fits say that their means", "3 fits warned, the first: the step size is large"):
        assert said in repr(found)


PROGRAM = """
from types import SimpleNamespace

import torch
from jensen.inference import simulation_based_calibration
from jensen.models.regression.linear_regression import BayesianLinearRegression

class Exact:
    def fit(self, model, data, seed):
        posterior = model.exact_posterior(data)["w"]
        torch.manual_seed(seed)
        draws = {"w": posterior.sample((99,))}
        threads = torch.get_num_threads()
        return SimpleNamespace(draws=None, status=f"of {threads}", info={}, posterior=lambda *rest: draws)

data = {"x": torch.randn(10, 2), "y": torch.zeros(10)}
given = dict(num_simulations=4, quantities={"sum": lambda z, d: z["w"].sum()})
one, two = (simulation_based_calibration(BayesianLinearRegression(2), Exact(), data, jobs=j, **given) for j in (1, 2))
assert [r.places for r in one.records] == [r.places for r in two.records]
print("same", *two.quantities)
"""


@pytest.mark.slow
def test_processes_make_the_same_ranks() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "same w[0] w[1] log p(x | z) sum", done.stderr


def test_arguments_that_cannot_work() -> None:
    method, data = ClosedForm(), inputs()
    for options, match in (
        ({"num_simulations": 1}, "`num_simulations` must be an integer of at least 2"),
        ({"num_draws": 0}, "`num_draws` must be an integer of at least 1"),
        ({"jobs": 0}, "`jobs` must be an integer of at least 1"),
        ({"seed": 0.5}, "`seed` must be a whole number"),
        ({"store": 3}, "`store` must be the path of a folder"),
        ({"latents": "w"}, "`latents` must be a list of names"),
        ({"latents": ["v"]}, r"`latents`: `BayesianLinearRegression` has no latent 'v'\."),
        ({"quantities": [len]}, "`quantities` must be a dict of functions"),
        ({"quantities": {"a": 3}}, "`quantities`: `a` must be a function"),
        ({"amortised": True}, "`amortised`: one fit can serve only latents.*global ones"),
    ):
        with pytest.raises(ConfigurationError, match=match):
            simulation_based_calibration(MODEL, method, data, **options)
    with pytest.raises(ConfigurationError, match="`method` must be an object with `fit`"):
        simulation_based_calibration(MODEL, Laplace, data)
    with pytest.raises(ModelError, match="EM"):
        simulation_based_calibration(BayesianLogisticRegression(2), EM(), data)
    loader: Any = torch.utils.data.DataLoader([{"x": data["x"][0], "y": data["y"][0]}])
    with pytest.raises(DataError, match="in memory"):
        simulation_based_calibration(MODEL, method, loader)
    assert not method.calls


def test_a_quantity_must_be_a_number(exact: Calibration) -> None:
    with pytest.raises(ModelError, match=r"`quantities`: `w` must return one number, got a tensor \(2,\)"):
        simulation_based_calibration(
            MODEL, ClosedForm(), inputs(), num_simulations=3, quantities={"w": lambda latents, data: latents["w"]}
        )
    with pytest.raises(ConfigurationError, match=r"nothing called 'w\[7\]' was ranked"):
        exact.places("w[7]")
    with pytest.raises(ConfigurationError, match="`levels` must be between 0 and 1, got 90"):
        exact.coverage((90,))
    with pytest.raises(ConfigurationError, match="`level` must be between 0 and 1"):
        exact.ecdf("w[0]", 95)


def test_the_band_is_around_the_difference(exact: Calibration) -> None:
    frame = exact.ecdf("w[0]")
    inside = frame["difference"].between(frame["lower"], frame["upper"])
    assert inside.all() == (exact.table.set_index("quantity").loc["w[0]", "p_value"] > 0.05)
    assert frame["place"].between(0, 1).all() and (frame["lower"] <= 0).all() and (frame["upper"] >= 0).all()


def test_only_what_was_asked_for_is_ranked() -> None:
    asked = {"latents": [], "quantities": {"sum": lambda latents, data: latents["w"].sum()}}
    found = simulation_based_calibration(MODEL, ClosedForm(), inputs(), num_simulations=2, **asked)
    assert found.quantities == [LOG_LIKELIHOOD, "sum"]
