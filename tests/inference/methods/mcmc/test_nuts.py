"""Draws against exact posteriors, what chains say of themselves, and runs that go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from sampled_fits import killed_and_resumed, mean_errors, regression

from jensen.inference import NUTS, ModelError, load
from jensen.models import BayesianLinearRegression

QUICK = NUTS(steps=300, num_warmup=150, progress=False, compile=False, dtype=torch.float64)


def coin(y: Any) -> None:
    p = pyro.sample("p", dist.Beta(2.0, 3.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Bernoulli(p), obs=y)


def test_draws_of_a_conjugate_posterior(float64: None) -> None:
    y = torch.tensor([1.0, 1, 0, 1, 1, 1, 0, 1])
    fit = QUICK.fit(coin, {"y": y})
    exact = torch.distributions.Beta(8.0, 5.0)
    p = fit.draws["p"].numpy()[:, None]
    assert np.abs(mean_errors(p, np.array([exact.mean]), 4)).max() < 4
    assert np.abs(mean_errors(p**2, np.array([exact.variance + exact.mean**2]), 4)).max() < 4
    assert fit.status == "converged"


def test_draws_of_a_correlated_normal(float64: None) -> None:
    root = torch.tensor([[2.0, 0.0, 0.0], [1.9, 0.3, 0.0], [-1.0, 0.5, 0.01]])

    def model(x: Any) -> None:
        pyro.sample("z", dist.MultivariateNormal(torch.tensor([1.0, 100.0, -5.0]), scale_tril=root))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    fit = QUICK.fit(model, {"x": torch.zeros(2)})
    white = torch.linalg.solve(root, (fit.draws["z"] - torch.tensor([1.0, 100.0, -5.0])).mT).mT.numpy()
    assert np.abs(mean_errors(white, np.zeros(3), 4)).max() < 4
    assert np.abs(mean_errors(white**2, np.ones(3), 4)).max() < 4
    assert np.abs(mean_errors(white[:, :2] * white[:, 1:], np.zeros(2), 4)).max() < 4


def test_discrete_latents_are_summed_out(float64: None) -> None:
    """A mixture weight given known components: the posterior on a grid."""
    x = torch.tensor([-1.2, -0.7, 2.9, 3.4, 3.1])

    def model(x: Any) -> None:
        w = pyro.sample("w", dist.Uniform(0.0, 1.0))
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Bernoulli(w), infer={"enumerate": "parallel"})
            pyro.sample("x", dist.Normal(-1.0 + 4.0 * c, 1.0), obs=x)

    grid = torch.linspace(0.0005, 0.9995, 1_000)[:, None]
    first, second = (torch.distributions.Normal(m, 1.0).log_prob(x).exp() for m in (-1.0, 3.0))
    density = ((1 - grid) * first + grid * second).log().sum(1).exp()
    mean = float((grid[:, 0] * density).sum() / density.sum())
    fit = QUICK.fit(model, {"x": x})
    assert abs(mean_errors(fit.draws["w"].numpy()[:, None], np.array([mean]), 4)[0]) < 4
    assert fit.posterior(10, {"x": x})["c"].shape == (10, 5)


def test_a_killed_run_goes_on_to_the_same_draws(float64: None, tmp_path: Path) -> None:
    method = NUTS(
        steps=40, num_warmup=60, num_chains=2, log_every=10, checkpoint_every=10, progress=False, compile=False
    )
    model, data = BayesianLinearRegression(2), regression()

    steps = (20, 50, 80)  # before, in and after the windows of the warm-up
    found = killed_and_resumed(method, model, data, tmp_path / "run", steps)
    whole = method.fit(model, data, seed=1)
    assert all(torch.equal(found.draws[name], whole.draws[name]) for name in whole.draws)
    assert all(torch.equal(found.sample_stats[name], whole.sample_stats[name]) for name in whole.sample_stats)
    other = method.fit(model, data, seed=2)
    assert not torch.equal(other.draws["w"], whole.draws["w"])


def test_chains_are_kept_apart_in_arviz_and_in_files(float64: None, tmp_path: Path) -> None:
    fit = NUTS(steps=30, num_warmup=40, num_chains=3, progress=False, compile=False).fit(
        BayesianLinearRegression(2), regression()
    )
    fit.save(tmp_path / "fit")
    for each in (fit, load(tmp_path / "fit")):
        tree = each.to_arviz(num=90)
        assert dict(tree.posterior.sizes)["chain"] == 3
        stats = tree.sample_stats
        assert {"acceptance_rate", "diverging", "energy", "n_steps", "tree_depth", "step_size"} <= set(stats)
        assert stats.diverging.shape == (3, 30)
        assert float(stats.n_steps.min()) >= 1
    assert "sample_stats" not in fit.to_arviz(num=10).groups()


def test_two_modes_are_no_convergence(float64: None) -> None:
    def model(x: Any) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 10.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z.abs(), 0.1), obs=x)

    fit = QUICK.fit(model, {"x": torch.full((5,), 8.0)})
    assert fit.status == "not converged"
    assert "modes" in fit.info["convergence"]["advice"]


def test_a_funnel_has_divergences_and_says_what_to_do(float64: None) -> None:
    def model(x: Any) -> None:
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        with pyro.plate("parts", 9):
            pyro.sample("z", dist.Normal(0.0, (v / 2).exp()))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    short = NUTS(steps=150, num_warmup=100, num_chains=2, max_depth=6, target_acceptance=0.5, progress=False)
    fit = short.fit(model, {"x": torch.zeros(2)})
    assert fit.info["divergences"] > 0
    assert "target_acceptance" in fit.info["convergence"]["advice"]


def test_local_latents_are_refused_by_name(float64: None) -> None:
    def model(x: Any) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ModelError, match="`z` is a latent of each datum"):
        NUTS(progress=False).fit(model, {"x": torch.zeros(3)})


@pytest.mark.parametrize(
    "options",
    [
        {"num_chains": 0},
        {"num_warmup": -1},
        {"target_acceptance": 1.5},
        {"metric": "euclid"},
        {"compile": "yes"},
        {"steps": 0},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        NUTS(**options)
