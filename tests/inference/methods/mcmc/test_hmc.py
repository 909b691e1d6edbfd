"""A trajectory of a given length leaves its target as it is; draws of the method; its options."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from sampled_fits import killed_and_resumed, mean_errors, regression

from jensen.inference import HMC, NUTS
from jensen.inference.methods.mcmc.chains import run_together
from jensen.inference.methods.mcmc.hmc import fixed_transition
from jensen.inference.methods.mcmc.metric import Metric
from jensen.inference.methods.mcmc.tree import Place, Transition
from jensen.models import BayesianLinearRegression


def heavy(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Student's t of five degrees of freedom, in each number."""
    return -3.0 * np.log1p(u**2 / 5.0).sum(1), -6.0 * u / (5.0 + u**2)


def gaussian(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -0.5 * (u**2).sum(1), -u


def moved(evaluate: Any, starts: np.ndarray, step: float, **options: Any) -> list[Transition]:
    value, gradient = evaluate(starts)
    chains = [
        fixed_transition(Place(v, float(a), g), step, np.random.default_rng([1, i]), **options)
        for i, (v, a, g) in enumerate(zip(starts, value, gradient, strict=True))
    ]
    return run_together(chains, evaluate, Metric(np.ones(starts.shape[1])), starts)


@pytest.mark.parametrize("options", [{"length": 1.5}, {"length": 9.0, "jitter": 0.9}, {"length": 1.0, "leapfrogs": 3}])
@pytest.mark.parametrize("step", [0.3, 1.4])
def test_a_transition_leaves_the_target_as_it_is(options: dict[str, Any], step: float) -> None:
    """Starts are exact draws; so must their successors be, however wrong the leapfrog steps are."""
    from scipy.stats import kstest, t

    starts = np.random.default_rng(0).standard_t(5, size=(4_000, 2))
    ended = moved(heavy, starts, step, **options)
    found = np.stack([end.place.v for end in ended])
    assert kstest(found.ravel(), t(5).cdf).pvalue > 1e-3
    assert kstest(found.sum(1), starts[:, 0] - starts[:, 1]).pvalue > 1e-3
    taken = (found != starts).any(1).mean()
    assert taken == pytest.approx(np.mean([end.acceptance for end in ended]), abs=0.03)
    assert all(end.place.value == pytest.approx(heavy(end.place.v[None])[0][0]) for end in ended[:50])


def test_the_number_of_steps_is_jittered_about_the_length() -> None:
    starts = np.zeros((500, 1))
    counts = [end.leapfrogs for end in moved(gaussian, starts, 0.1, length=2.0, jitter=0.5)]
    assert (min(counts), max(counts)) == (10 + 1, 30)
    assert np.mean(counts) == pytest.approx(20.5, abs=5 * 5.8 / 500**0.5)
    assert {end.leapfrogs for end in moved(gaussian, starts, 0.1, length=2.0, jitter=0.0)} == {20}
    assert {end.leapfrogs for end in moved(gaussian, starts, 0.1, length=2.0, leapfrogs=7, jitter=0.0)} == {7}
    assert {end.leapfrogs for end in moved(gaussian, starts, 1e-9, length=2.0, most=5)} == {5}
    assert {end.leapfrogs for end in moved(gaussian, starts, 5.0, length=0.1)} == {1}


def test_a_quarter_of_a_period_makes_the_end_independent_of_the_start() -> None:
    starts = np.random.default_rng(2).standard_normal((2_000, 1))
    found = np.stack([end.place.v for end in moved(gaussian, starts, 0.05, length=math.pi / 2, jitter=0.0)])
    assert abs(np.corrcoef(starts.ravel(), found.ravel())[0, 1]) < 4 / 2_000**0.5


def test_lost_energy_is_a_divergence_and_no_warning() -> None:
    def steep(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(over="ignore"):
            return -(u**4).sum(1), -4.0 * u**3

    ended = moved(steep, np.full((5, 2), 1.0), 50.0, length=5_000.0)
    assert all(end.diverged and end.acceptance == 0.0 and (end.place.v == 1.0).all() for end in ended)
    assert all(end.leapfrogs < 20 for end in ended)  # there is no way back from infinity


def test_draws_of_a_correlated_normal(float64: None) -> None:
    root = torch.tensor([[2.0, 0.0, 0.0], [1.9, 0.3, 0.0], [-1.0, 0.5, 0.01]])

    def model(x: Any) -> None:
        pyro.sample("z", dist.MultivariateNormal(torch.tensor([1.0, 100.0, -5.0]), scale_tril=root))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    fit = HMC(steps=300, num_warmup=150, progress=False, compile=False, dtype=torch.float64).fit(
        model, {"x": torch.zeros(2)}
    )
    white = torch.linalg.solve(root, (fit.draws["z"] - torch.tensor([1.0, 100.0, -5.0])).mT).mT.numpy()
    for found, mean in ((white, 0.0), (white**2, 1.0), (white[:, :2] * white[:, 1:], 0.0)):
        assert np.abs(mean_errors(found, mean, 4)).max() < 4
    assert fit.status == "converged"


def test_a_killed_run_goes_on_to_the_same_draws(float64: None, tmp_path: Path) -> None:
    method = HMC(
        steps=20, num_warmup=40, num_chains=2, log_every=10, checkpoint_every=10, progress=False, compile=False
    )
    model, data = BayesianLinearRegression(2), regression()

    steps = (20, 50)
    found = killed_and_resumed(method, model, data, tmp_path / "run", steps)
    whole = method.fit(model, data, seed=1)
    assert all(torch.equal(found.draws[name], whole.draws[name]) for name in whole.draws)
    assert set(whole.to_arviz(num=40).sample_stats) == {
        "acceptance_rate",
        "diverging",
        "energy",
        "n_steps",
        "step_size",
    }


def test_the_unit_metric_leaves_the_coordinates_as_they_are(float64: None) -> None:
    """A standard deviation of 100 takes steps of about that in its own coordinates, of about one in adapted ones."""

    def model(x: Any) -> None:
        pyro.sample("z", dist.Normal(torch.tensor(0.0), 100.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    for method in (HMC, NUTS):
        sizes = {}
        for metric in ("unit", "diagonal", "dense"):
            options = {"steps": 10, "num_warmup": 60, "num_chains": 2, "progress": False, "compile": False}
            fit = method(metric=metric, **options).fit(model, {"x": torch.zeros(2)})
            sizes[metric] = max(fit.info["step_size"])
        assert 0.2 < sizes["diagonal"] < 5.0
        assert 0.2 < sizes["dense"] < 5.0
        assert 20.0 < sizes["unit"] < 500.0


@pytest.mark.parametrize(
    "options",
    [
        {"num_leapfrogs": 0},
        {"trajectory_length": -1.0},
        {"jitter": 1.0},
        {"max_leapfrogs": 0},
        {"trajectory_length": 1.0, "num_leapfrogs": 3},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        HMC(**options)
